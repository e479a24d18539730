# Completion of nmt's commands for zsh, once compinit has run.
# _nmt_keys MODULE, _nmt_choices MODULE KEY and _nmt_flags are above: nmt/cli/completion.py wrote them.

# Which command the line is for: nmt.train of `python -m nmt.train ...`, of `torchrun ... -m nmt.train ...` and of `nmt-train ...`.
_nmt_module() {
  local i name="${words[1]:t}"
  case "$name" in
    nmt-align|nmt-look) echo "nmt.eval.${name#nmt-}"; return ;;
    nmt-*) echo "nmt.${name#nmt-}"; return ;;
  esac
  for ((i = 3; i < CURRENT; i++)); do
    if [[ "${words[i - 1]}" == -m && "${words[i]}" == nmt.* ]]; then
      echo "${words[i]}"
      return
    fi
  done
}

# The keys of MODULE that begin with what is typed, up to the next dot: data. for data.train.source and data.target.
_nmt_offer_keys() {
  local key rest
  local -aU found
  compset -P '[+~]'
  for key in ${(f)"$(_nmt_keys "$1")"}; do
    if [[ "$key" == "$PREFIX"* ]]; then
      rest="${key#"$PREFIX"}"
      if [[ "$rest" == *.* ]]; then found+=("$PREFIX${rest%%.*}."); else found+=("$key="); fi
    fi
  done
  compadd -S '' -a found
}

# What is typed has an equals sign: the choices of its key, or folders, or files; after a comma or a bracket the next.
_nmt_offer_values() {
  local key="${PREFIX%%=*}"
  local list="$(_nmt_choices "$1" "${key#[+~]}")"
  compset -P 1 '*\='
  compset -P '*[,\[]'
  case "$list" in
    FOLDERS) _files -/ ;;
    "") _files ;;
    *) compadd -- ${=list} ;;
  esac
}

_nmt_complete() {
  local module="$(_nmt_module)"
  if [[ -z "$module" ]]; then
    if [[ "${words[CURRENT - 1]}" == -m && "$PREFIX" == nmt* ]]; then
      compadd -- ${=_nmt_modules}
    else
      "${_nmt_before[$service]:-_default}" "$@"
    fi
    return
  fi
  case "$PREFIX" in
    -*) compadd -- ${=$(_nmt_flags)} ;;
    *=*) _nmt_offer_values "$module" ;;
    *) _nmt_offer_keys "$module" ;;
  esac
}

# What completed these before goes on to do so, where the line is for none of these commands.
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
typeset -gA _nmt_before
for _nmt_name in python python3 torchrun; do
  [[ "${_comps[$_nmt_name]}" == _nmt_complete ]] || _nmt_before[$_nmt_name]="${_comps[$_nmt_name]}"
done
compdef _nmt_complete python python3 torchrun ${=_nmt_scripts}
