# Completion of check_lync_presence for bash. Made by `make manual` from the table of options.
_check_lync_presence() {
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD - 1]}"
    # --option=value comes as three words
    if [ "$word" = "=" ]; then
        word=""
    elif [ "$before" = "=" ]; then
        before="${COMP_WORDS[COMP_CWORD - 2]}"
    fi
    COMPREPLY=()
    case "$before" in
        -H|--target|-p|--port|--connect|--subscriber-target|--user-agent|--publisher|--publisher-user|--subscriber|--subscriber-user|--ldap-uri|--ldap-base|--ldap-bind|-w|--warning|-c|--critical|--front-ends-critical|--certificate-warning|--certificate-critical|-t|--timeout|--notify-timeout) : ;;
        --transport) mapfile -t COMPREPLY < <(compgen -W 'tls tcp udp' -- "$word") ;;
        --protocol) mapfile -t COMPREPLY < <(compgen -W 'auto lync simple' -- "$word") ;;
        --auth) mapfile -t COMPREPLY < <(compgen -W 'auto kerberos ntlm tls-dsk trusted-server digest' -- "$word") ;;
        --accounts|--publisher-password-file|--publisher-keytab|--publisher-cert|--publisher-key|--subscriber-password-file|--subscriber-keytab|--subscriber-cert|--subscriber-key|--ca-file|--client-cert|--client-key|--ldap-password-file|--ldap-ca-file|--report|--trace|--replay) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
        --tls-min) mapfile -t COMPREPLY < <(compgen -W '1.0 1.1 1.2 1.3' -- "$word") ;;
        --ldap-auth) mapfile -t COMPREPLY < <(compgen -W 'simple kerberos anonymous' -- "$word") ;;
        --account-state) mapfile -t COMPREPLY < <(compgen -W 'critical warning unknown' -- "$word") ;;
        --state-dir) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
        --activity-warning|--activity-critical) compopt -o nospace; mapfile -t COMPREPLY < <(compgen -W 'register= self_subscribe= subscribe= publish= notify= unregister=' -- "$word") ;;
        *) mapfile -t COMPREPLY < <(compgen -W '-H --target -p --port --connect --discover --all-front-ends --subscriber-target -4 --ipv4 -6 --ipv6 --transport --protocol --auth --ntlm-mic --user-agent --accounts --publisher --publisher-user --publisher-password-file --publisher-keytab --publisher-cert --publisher-key --subscriber --subscriber-user --subscriber-password-file --subscriber-keytab --subscriber-cert --subscriber-key --ca-file --client-cert --client-key --tls-min --insecure --ldap-uri --ldap-base --ldap-bind --ldap-password-file --ldap-auth --ldap-ca-file --ldap-starttls --account-state --state-dir --verify-accounts --self-test -w --warning -c --critical --activity-warning --activity-critical --front-ends-critical --certificate-warning --certificate-critical -t --timeout --notify-timeout -v --verbose --report --trace --replay -V --version -h --help' -- "$word") ;;
    esac
}
complete -F _check_lync_presence check_lync_presence
