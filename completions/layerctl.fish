# fish completion for layerctl

function __layerctl_complete
    set -lx COMP_LINE (commandline -cp)
    set -lx _LAYERCTL_COMPLETE fish_complete
    for line in (layerctl 2>/dev/null)
        switch $line
            case :dirs
                __fish_complete_directories (commandline -ct)
            case :files
                __fish_complete_path (commandline -ct)
            case '?*'
                echo $line
        end
    end
end

complete --command layerctl --no-files --keep-order --arguments '(__layerctl_complete)'
