install_package
configure
smarthost
service start
is "its state" "$(property ActiveState)" active
is "what it says" "$(property StatusText)" \
    "SMTP on 0.0.0.0:25 and [::]:25, HTTP on 127.0.0.1:8080"

# As the unit says, in the kernel's words.
status=/proc/$(property MainPID)/status
grep -q "^Uid:	$(id -u tempalias)	" "$status" || fail "who it is"
grep -q '^NoNewPrivs:	1$' "$status" || fail "new privileges"
grep -q '^Seccomp:	2$' "$status" || fail "no filter of system calls"
grep -q '^CapBnd:	0000000000000400$' "$status" || fail "capabilities"
is "its memory, at the most" "$(property MemoryMax)" $((1024 * 1024 * 1024))
grep -Eq '^[^ ]+ [^ ]+ [^ ]+ [^ ]+ / ro' "/proc/$(property MainPID)/mountinfo" || fail "it may write to the system"

alias=$(new_alias 2)
mail_to "$alias" filtered
eventually "the message is there" has_arrived filtered
is "uses left" "$(uses_left "$alias")" 1
page_is_there || fail "no page"
answer=$(curl -sSf --max-time 20 http://127.0.0.1:8080/aliases -H 'Content-Type: application/json' \
    -d '{"target":"you@example.net","max-usage":1}')
[[ $answer == *updatekey* ]] || fail "no alias by the API"

systemctl reload tempalias
is "its state after a reload" "$(property ActiveState)" active
journalctl -u tempalias -o cat | grep -iE 'warn|error|not permitted' && fail "it complains"

# A stop is told, and clean.
systemctl stop tempalias
is "its end" "$(property Result)" success
is "its exit code" "$(property ExecMainStatus)" 0
