# Completion of nmt's commands for bash.
# _nmt_keys MODULE, _nmt_choices MODULE KEY and _nmt_flags are above: nmt/cli/completion.py wrote them.

# Which command the line is for: nmt.train of `python -m nmt.train ...`, of `torchrun ... -m nmt.train ...` and of `nmt-train ...`.
_nmt_module() {
  local i name="${COMP_WORDS[0]##*/}"
  case "$name" in
    nmt-align|nmt-look) echo "nmt.eval.${name#nmt-}"; return ;;
    nmt-*) echo "nmt.${name#nmt-}"; return ;;
  esac
  for ((i = 2; i < COMP_CWORD; i++)); do
    if [[ "${COMP_WORDS[i - 1]}" == -m && "${COMP_WORDS[i]}" == nmt.* ]]; then
      echo "${COMP_WORDS[i]}"
      return
    fi
  done
}

# The keys of MODULE that begin with WORD, up to the next dot: data. for data.train.source and data.target.
_nmt_matching_keys() {
  local key rest
  while IFS= read -r key; do
    if [[ -n "$key" && "$key" == "$2"* ]]; then
      rest="${key#"$2"}"
      case "$rest" in
        *.*) echo "$2${rest%%.*}." ;;
        *) echo "$key=" ;;
      esac
    fi
  done <<< "$(_nmt_keys "$1")" | sort -u
}

# WORD has an equals sign: the choices of its key, or folders; after a comma or a bracket those of the next value.
_nmt_values() {
  local module="$1" word="$2" key value before last list item
  key="${word%%=*}"
  value="${word#*=}"
  last="${value##*[,[]}"
  before="${value%"$last"}"
  list="$(_nmt_choices "$module" "${key#[+~]}")"
  # The shell replaces what follows the last character at which it breaks words, or the quote that is open.
  [[ -z "$quote" && "$COMP_WORDBREAKS" == *=* ]] || before="$key=$before"
  case "$list" in
    FOLDERS)
      while IFS= read -r item; do
        [[ -n "$item" ]] && COMPREPLY+=("$before$item/")
      done <<< "$(compgen -d -- "$last")"
      _nmt_no_space ;;
    *)
      for item in $(compgen -W "$list" -- "$last"); do COMPREPLY+=("$before$item"); done ;;
  esac
}

_nmt_no_space() {
  type compopt > /dev/null 2>&1 && compopt -o nospace
}

_nmt_complete() {
  local module line word sign="" quote="" item
  line="${COMP_LINE:0:COMP_POINT}"
  word="${line##*[[:space:]]}"
  [[ "$word" == [\'\"]* ]] && quote="${word:0:1}" && word="${word:1}"
  module="$(_nmt_module)"
  COMPREPLY=()
  if [[ -z "$module" ]]; then
    if [[ "${COMP_WORDS[COMP_CWORD - 1]}" == -m && "$word" == nmt* ]]; then
      COMPREPLY=($(compgen -W "$_nmt_modules" -- "$word"))
    elif [[ -n "$_nmt_python_before" ]]; then
      "$_nmt_python_before" "$@"
    fi
    return
  fi
  case "$word" in
    -*) COMPREPLY=($(compgen -W "$(_nmt_flags)" -- "$word")) ;;
    *=*) _nmt_values "$module" "$word" ;;
    *)
      [[ "$word" == +* ]] && sign=+
      for item in $(_nmt_matching_keys "$module" "${word#+}"); do COMPREPLY+=("$sign$item"); done
      _nmt_no_space ;;
  esac
}

# What completed python before goes on to do so, where the line is for none of these commands.
{ _comp_load python || _completion_loader python; } > /dev/null 2>&1
_nmt_python_before="$(complete -p python 2> /dev/null | sed -n 's/.* -F \([^ ]*\) .*/\1/p')"
[[ "$_nmt_python_before" == _nmt_complete ]] && _nmt_python_before=""
complete -o bashdefault -o default -F _nmt_complete python python3 torchrun $_nmt_scripts
