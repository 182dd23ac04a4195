# Copies a volume (the working folder) into a bucket and compares their contents; run by the job of
# "cscale deploy move" with the names of the bucket and of what to do with symbolic links. Trying
# again does not help against the exit codes 40 and 41. The last line is read by the command.
bucket=store:$1
look=-P
if [ "$2" = follow ]; then
  look=-L
  set -- --copy-links
else
  set --
  links=$(find . -type l | head -n 5)
  if [ -n "$links" ]; then
    echo "Links cannot be in a bucket: $links"
    exit 40
  fi
fi

rclone copy . "$bucket" "$@" --update --create-empty-src-dirs --s3-directory-markers \
  --transfers=8 --checkers=16 --stats=5s --stats-one-line --stats-log-level=NOTICE

found=/tmp/found
mkdir -p "$found"
rclone check . "$bucket" "$@" --checkers=16 --log-level=ERROR --match="$found/same" \
  --missing-on-dst="$found/missing" --differ="$found/differ" --error="$found/error" \
  --missing-on-src="$found/more" 2> "$found/said" || true
failed=
for each in missing differ error; do
  if [ -s "$found/$each" ]; then
    echo "Not in the bucket as in the volume ($each): $(head -n 5 "$found/$each")"
    failed=yes
  fi
done
[ -z "$failed" ] || exit 41
same=$(wc -l < "$found/same")
if [ "$same" != "$(find "$look" . -type f | wc -l)" ]; then
  echo "Not every file was compared: $(cat "$found/said")"
  exit 41
fi
echo "moved $same $(wc -l < "$found/more")"
