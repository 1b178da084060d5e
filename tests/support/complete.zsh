# complete.zsh SCRIPT LINE - what zsh proposes after LINE, one to a line, with the completions in SCRIPT. Completion needs
# a terminal and a line editor, so a second zsh gets both, and prints what it would insert between two marks.
zmodload zsh/zpty || exit 1
zpty inner zsh -f -i
() {
  local line
  zpty -w inner "source $1 $2"
  repeat 20; do
    zpty -r inner line
    [[ $line == ready* ]] && return
  done
  print 'complete.zsh: zsh does not answer' >&2
  exit 2
} =(<<'INIT'
PROMPT=
autoload compinit
compinit -u -D
source $1
compdef _${1:t:r} ${1:t:r}
# Nothing is ever run.
bindkey '^M' undefined
bindkey '^J' undefined
bindkey '^I' complete-word
mark() { print -r -- $'\0' }
compprefuncs=(mark)
comppostfuncs=(mark exit)
zstyle ':completion:*' insert-tab false
compadd() {
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
    builtin compadd "$@"
    return
  fi
  local -a hits
  builtin compadd -A hits "$@"
  (( ${#hits} )) && print -rl -- "${hits[@]}"
}
print ready
INIT
) ${(q)1}
zpty -w -n inner "$2"$'\t'
integer marks=0
while zpty -r inner; do :; done | while IFS= read -r line; do
  if [[ $line == *$'\0'* ]]; then
    (( marks++ )) && exit 0
    continue
  fi
  (( marks )) && print -r -- "${line%$'\r'}"
done
