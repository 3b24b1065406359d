# bash completion for layerctl

_layerctl() {
    local line word
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :dirs) compopt -o dirnames && continue ;;
            :files) compopt -o default && continue ;;
            '') continue ;;
        esac
        printf -v word %q "${line%%$'\t'*}"
        [[ $word == *[=/] ]] && compopt -o nospace
        COMPREPLY+=("${word//\\,/,}")
    done < <(COMP_LINE=${COMP_LINE:0:COMP_POINT} COMP_WORDBREAKS=$COMP_WORDBREAKS \
        _LAYERCTL_COMPLETE=bash_complete "$1" 2>/dev/null)
}

complete -o nosort -F _layerctl layerctl
