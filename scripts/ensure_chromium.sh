#!/bin/sh
# The browser test drives a real Chromium. Debian's package serves; it is installed when that is possible.
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "Installing Debian's chromium for the browser test (once) ..."
  log=$(mktemp)
  { apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core; } >"$log" 2>&1 \
    && { rm -f "$log"; exit 0; }
  tail -n 5 "$log"
fi
echo "The browser test needs chromium: apt-get install chromium (or make it available as 'chromium' on PATH)."
exit 1
