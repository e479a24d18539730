# Completion of nmt's commands for fish.
# _nmt_keys MODULE, _nmt_choices MODULE KEY and _nmt_flags are above: nmt/cli/completion.py wrote them.

# Which command the line is for: nmt.train of `python -m nmt.train ...`, of `torchrun ... -m nmt.train ...` and of `nmt-train ...`.
function _nmt_module
    set -l words (commandline -opc)
    set -l name (string replace -r '.*/' '' -- $words[1])
    switch "$name"
        case nmt-align nmt-look
            string replace nmt- nmt.eval. -- $name
            return
        case 'nmt-*'
            string replace nmt- nmt. -- $name
            return
    end
    set -l before ""
    for word in $words[2..-1]
        if test "$before" = -m; and string match -q 'nmt.*' -- $word
            echo $word
            return
        end
        set before $word
    end
end

# The keys of MODULE that begin with WORD, up to the next dot: data. for data.train.source and data.target.
function _nmt_matching_keys -a module word
    set -l sign (string match -r '^[+~]?' -- "$word")
    set -l bare (string replace -r '^[+~]' '' -- "$word")
    set -l begun (string length -- "$bare")
    for key in (_nmt_keys $module)
        if test (string sub -l $begun -- $key) = "$bare"
            set -l rest (string sub -s (math $begun + 1) -- $key)
            if string match -q '*.*' -- $rest
                echo "$sign$bare"(string replace -r '\..*' . -- $rest)
            else
                echo "$sign$key="
            end
        end
    end | sort -u
end

# WORD has an equals sign: the choices of its key, or folders, or files; after a comma or a bracket the next value.
function _nmt_values -a module word
    set -l key (string replace -r '=.*' '' -- $word | string replace -r '^[+~]' '')
    set -l before (string match -r '^[^=]*=(?:.*[,[])?' -- $word)
    set -l last (string sub -s (math (string length -- $before) + 1) -- $word)
    set -l list (_nmt_choices $module $key | string split ' ')
    switch "$list"
        case FOLDERS
            for item in $last*/
                echo $before$item
            end
        case ''
            for item in $last*
                test -d $item; and set item $item/
                echo $before$item
            end
        case '*'
            printf '%s\n' $before$list
    end
end

function _nmt_complete
    set -l word (string replace -r '^[\'"]' '' -- (commandline -ct))
    set -l module (_nmt_module)
    switch "$word"
        case '-*'
            _nmt_flags | string split ' '
        case '*=*'
            _nmt_values $module "$word"
        case '*'
            _nmt_matching_keys $module "$word"
    end
end

for _nmt_name in $_nmt_scripts
    complete -c $_nmt_name -f -a '(_nmt_complete)'
end
for _nmt_name in python python3 torchrun
    complete -c $_nmt_name -n 'string length -q -- (_nmt_module)' -f -a '(_nmt_complete)'
    complete -c $_nmt_name -s m -x -a "$_nmt_modules"
end
