# complete.bash SCRIPT LINE - what bash proposes after LINE, one to a line, with the completions in SCRIPT.
source /usr/share/bash-completion/bash_completion
source "$1"
read -ra COMP_WORDS <<<"$2"
# A blank at the end begins a new word.
[[ $2 != *' ' ]] || COMP_WORDS+=('')
COMP_LINE=$2 COMP_POINT=${#2} COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
program=${COMP_WORDS[0]}
rule=$(complete -p "$program")
[[ $rule =~ -F\ ([^ ]+) ]] || exit 1
"${BASH_REMATCH[1]}" "$program" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
