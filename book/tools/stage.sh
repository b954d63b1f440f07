# Run a command, and keep under a name how long it took; without arguments, print what was kept.
# Called by make and by .ci/run: sh book/tools/stage.sh NAME COMMAND…
set -eu
stages=_build/stages

if [ $# -eq 0 ]; then
    awk '
        !($1 in taken) { names[++count] = $1 }
        { taken[$1] += $2; all += $2 }
        END {
            for (i = 1; i <= count; i++) printf "%6.1f minutes  %s\n", taken[names[i]] / 60, names[i]
            printf "%6.1f minutes  in all\n", all / 60
        }' $stages
    exit
fi
name=$1
shift
began=$(date +%s)
"$@"
mkdir -p _build
echo "$name $(($(date +%s) - began))" >>$stages
