# Run a command, and keep under a name how long it took; without arguments, print what was kept.
# Called by make and by .ci/run: sh book/tools/stage.sh NAME COMMAND…
set -eu
stages=_build/stages

if [ $# -eq 0 ]; then
    awk '{ printf "%6.1f minutes  %s\n", $2 / 60, $1; all += $2 } END { printf "%6.1f minutes  in all\n", all / 60 }' $stages
    exit
fi
name=$1
shift
began=$(date +%s)
"$@"
mkdir -p _build
echo "$name $(($(date +%s) - began))" >>$stages
