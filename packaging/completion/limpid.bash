# SPDX-License-Identifier: Apache-2.0
#
# Completion of limpid for bash.  Verbs, options and words are read from --help, so that they are
# always those of the program that is there.

# Lines "OPTION VALUE" of a verb; VALUE is FILE, another word in capitals, or nothing.
_limpid_options() {
	"$1" "$2" --help 2>/dev/null | sed -nE 's/^  (--?[a-z][a-z-]*)( ([A-Z][A-Z:]*))?(  .*|$)/\1 \3/p'
}

# The words that the usage of a verb lets one choose from: "usage: limpid VERB a|b|c".
_limpid_words() {
	"$1" "$2" --help 2>/dev/null | sed -nE '1s/^usage: limpid [a-z]+ ([a-z]+(\|[a-z]+)+)( .*|$)/\1/p' |
		tr '|' ' '
}

_limpid() {
	local program=${COMP_WORDS[0]} verb=${COMP_WORDS[1]-} word=${COMP_WORDS[COMP_CWORD]}
	local before=${COMP_WORDS[COMP_CWORD - 1]} options value i

	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		options=$("$program" --help 2>/dev/null | sed -nE 's/^  ([a-z-]+) .*/\1/p')
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
		return
	fi
	if [ "$verb" = run ]; then
		for ((i = 2; i < COMP_CWORD; i++)); do
			[ "${COMP_WORDS[i]}" = -- ] || continue
			if declare -F _command_offset >/dev/null; then
				_command_offset $((i + 1))
			elif [ $((i + 1)) -eq "$COMP_CWORD" ]; then
				mapfile -t COMPREPLY < <(compgen -c -- "$word")
			else
				mapfile -t COMPREPLY < <(compgen -f -- "$word")
			fi
			return
		done
	fi
	if [ "$before" = = ]; then # --config=FILE comes as three words
		before=${COMP_WORDS[COMP_CWORD - 2]}
	elif [ "$word" = = ]; then
		word=
	fi
	options=$(_limpid_options "$program" "$verb")
	value=$(sed -nE "s/^$before ([A-Z].*)/\1/p" <<<"$options")
	case $value in
	'')
		options=$(sed 's/ .*//' <<<"$options")
		[ "$COMP_CWORD" -ne 2 ] || options+=" $(_limpid_words "$program" "$verb")"
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
		;;
	FILE)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		;;
	esac
}

complete -F _limpid limpid
