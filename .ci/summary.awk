# What pytest said, from the log of nox: a line for each process of tests; then for each that failed its command, the seed
# of its order, and the names of the tests.
/^nox > Running session / { session = $5 }
/^nox > .*(pytest|run\.mjs)/ { command = $0; seed = "no seed"; sub(/^nox > /, "", command) }
/^Using --randomly-seed=/ { seed = $2 }
/^(FAILED|ERROR) / { names[++count] = substr($0, 1, 200) }
/^=+ .*(passed|failed|error|skipped|deselected|no tests ran).* in [0-9.]+s.* =+$/ {
    summary = $0
    gsub(/^=+ | =+$/, "", summary)
    ran = ran session ": " summary "\n"
    if (summary ~ /failed|error/)
        tell(session ": " summary ", " seed)
    count = 0
}
/^nox > Session .* (failed|raised|aborted)/ { ended = ended substr($0, 7, 300) "\n" }

function tell(what, number) {
    failed = failed what "\n  " substr(command, 1, 1500) "\n"
    for (number = 1; number <= count && number <= MOST; number++)
        failed = failed "  " names[number] "\n"
    if (count > MOST)
        failed = failed "  and " count - MOST " more\n"
}

BEGIN { MOST = 40 }
END {
    printf "ci: what pytest said\n%s", ran
    if (failed ended != "")
        printf "\nci: what failed\n%s%s", failed, ended
}
