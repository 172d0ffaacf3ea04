//! What people type who know Vault or OpenBao, and what it is called here.

use crate::failure::Failure;

/// A command of Vault's, and ours.
pub(crate) struct Known {
    /// What follows `vault`.
    pub(crate) theirs: &'static str,
    /// The command here; empty where there is none.
    pub(crate) ours: &'static str,
    /// What is different, or why there is none.
    pub(crate) note: &'static str,
}

const fn known(theirs: &'static str, ours: &'static str, note: &'static str) -> Known {
    Known { theirs, ours, note }
}

/// The commands of every day. A longer one stands before a shorter one that it begins with.
pub(crate) const KNOWN: &[Known] = &[
    known("status", "coffer status", "ends with 5 where sealed, not with 2"),
    known("server -dev", "coffer dev", "TLS and policy are on, as in production"),
    known("server", "coffer-server --config FILE", "a program of its own"),
    known("login", "coffer login NAME", "the password is asked for; see --method"),
    known("kv get", "coffer kv get PATH", "paths are as they are: no data/ in between"),
    known("kv put", "coffer kv put PATH FIELD=value", "a field without a value is asked for, hidden"),
    known("kv enable-versioning", "", "every secret has versions"),
    known("kv list", "coffer kv list PATH", "-R for all below"),
    known("kv delete", "coffer kv delete PATH", ""),
    known("kv undelete", "coffer kv undelete PATH --versions N", ""),
    known("kv destroy", "coffer kv destroy PATH --versions N", ""),
    known("kv rollback", "coffer kv rollback PATH --version N", "needs no permission to read"),
    known("kv metadata delete", "coffer kv metadata delete PATH", ""),
    known("kv metadata", "coffer kv metadata get PATH", "coffer kv history shows the versions"),
    known("transit import", "coffer transit key import KEY", "wrapped for the mount's key on your machine"),
    known("transit", "coffer transit key", ""),
    known("write transit/keys", "coffer transit key create KEY", "rotate, update and trim as well"),
    known("write transit/encrypt", "coffer transit encrypt KEY @FILE", "no base64: values are taken and given as they are"),
    known("write transit/decrypt", "coffer transit decrypt KEY @FILE", ""),
    known("write transit/rewrap", "coffer transit rewrap KEY @FILE", ""),
    known("write transit/sign", "coffer transit sign KEY @FILE", ""),
    known("write transit/verify", "coffer transit verify KEY @FILE", ""),
    known("write transit/hmac", "coffer transit hmac KEY @FILE", "a key of the type hmac-sha256"),
    known("write transit/datakey", "coffer transit datakey KEY", "with --plaintext it is shown"),
    known("write transit/random", "coffer transit random", ""),
    known("read database/static-creds", "coffer issue database/static-creds/NAME", ""),
    known(
        "write database/static-roles",
        "coffer database static-role put NAME",
        "two users take turns, so that nobody is kept out",
    ),
    known("write database/rotate-role", "coffer database static-role rotate NAME", ""),
    known("write database/rotate-root", "coffer database connection rotate NAME", ""),
    known("write database/config", "coffer database connection put NAME", ""),
    known("write database/roles", "coffer database role put NAME", "coffer database role check tries it"),
    known("read database/creds", "coffer issue database/creds/ROLE", ""),
    known("write kubernetes/creds", "coffer issue kubernetes/creds/ROLE", "the role says in which namespace"),
    known("write kubernetes/roles", "coffer kubernetes role put NAME", ""),
    known("read", "coffer kv get PATH", "credentials: coffer issue PATH"),
    known("write", "coffer kv put PATH FIELD=value", "settings have commands of their own: coffer --help"),
    known("list", "coffer kv list PATH", ""),
    known("delete", "coffer kv delete PATH", ""),
    known("patch", "coffer kv patch PATH FIELD=value", ""),
    known("policy list", "coffer policy list", "grants do most of it: coffer grants"),
    known("policy read", "coffer policy get NAME", "policies are written in Cedar"),
    known("policy write", "coffer policy put NAME @FILE", "most need a grant only: coffer grant read PATH --to PRINCIPAL"),
    known("policy fmt", "coffer policy lint @FILE", "checks, and changes nothing"),
    known("policy delete", "coffer policy delete NAME", ""),
    known("token lookup", "coffer whoami", ""),
    known("token capabilities", "coffer why PRINCIPAL ACTION PATH", "says by which grant or policy, too"),
    known("token renew", "coffer login NAME", "sessions are not renewed: they end, and one logs in anew"),
    known("token revoke", "coffer session revoke ID", "your own: coffer logout"),
    known("token create", "coffer user create NAME", "there are no tokens without a login; for workloads: coffer cluster create"),
    known("token", "coffer session", ""),
    known("print token", "", "a session's token is bound to its key: shown, it would open nothing"),
    known("lease lookup", "coffer lease get ID", ""),
    known("lease renew", "coffer lease renew ID", ""),
    known("lease revoke", "coffer lease revoke ID", "with --path all at a path"),
    known("lease", "coffer lease list", "secrets of kv have no leases: a grant is taken away at once (coffer revoke)"),
    known("auth list", "coffer cluster list", "workloads log in by cluster, operators by account: coffer user list"),
    known("auth enable", "coffer cluster create NAME", "logins for operators and for Kubernetes are there from the start"),
    known("auth", "coffer cluster", ""),
    known("secrets list", "coffer mount list", ""),
    known("secrets enable", "coffer mount create NAME --engine ENGINE", "the mount kv is there from the start"),
    known("secrets disable", "coffer mount delete NAME", ""),
    known("secrets", "coffer mount", ""),
    known("audit list", "coffer audit tail", "the audit log is always on"),
    known("audit enable", "coffer audit tail", "the audit log is always on"),
    known("operator init", "coffer operator init", "on the server's socket; shares, and a credential that creates operators"),
    known("operator unseal", "coffer operator unseal", "the share is asked for, hidden"),
    known("operator seal", "coffer operator seal", ""),
    known("operator generate-root", "coffer operator recover", "there is no root token: it lets a new first operator in"),
    known("operator members", "coffer status", "one server works on a store"),
    known("operator step-down", "", "one server works on a store"),
    known("namespace", "coffer --tenant NAME", ""),
    known("agent", "coffer-agent", "a program of its own, as init container or sidecar"),
    known("proxy", "coffer-agent", ""),
    known("debug", "coffer doctor", ""),
    known("monitor", "coffer audit tail --follow", ""),
    known("events subscribe", "coffer audit tail --follow", ""),
    known("path-help", "coffer help", ""),
    known("version-history", "coffer status", ""),
    known("version", "coffer --version", ""),
    known("wrap", "", "there is no response wrapping: give the reader a grant instead"),
    known("unwrap", "", "there is no response wrapping: give the reader a grant instead"),
    known("plugin", "", "there are no plugins"),
    known("pki issue", "coffer pki issue ROLE --name HOST", ""),
    known("pki reissue", "coffer pki ca sign NAME @FILE --ttl DURATION", ""),
    known("pki list-intermediates", "coffer pki ca list", ""),
    known("pki", "coffer pki", ""),
    known("ssh", "", "there is no such engine"),
    known("transform", "", "there is no such engine"),
];

/// What to say to who typed a command of Vault's that is none here.
pub(crate) fn advice(words: &[&str]) -> Option<Box<Failure>> {
    let begins = |known: &&Known| {
        let theirs = known.theirs.split(' ');
        // Vault's paths begin with an engine: `read database/creds/app` is the first word and the beginning of the second.
        let same = |(theirs, word): (&str, &&str)| {
            word.strip_prefix(theirs).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        theirs.clone().count() <= words.len() && theirs.zip(words).all(same)
    };
    let known = KNOWN.iter().find(begins)?;
    let failure = Failure::usage(format!("there is no command 'coffer {}'", known.theirs));
    Some(match (known.ours, known.note) {
        ("", note) => failure.why(note).next("coffer --help lists the commands; coffer help vault compares them with Vault's"),
        (ours, "") => failure.next(ours),
        (ours, note) => failure.why(note).next(ours),
    })
}

/// The table of `coffer help vault`.
pub(crate) fn table() -> String {
    let width = |text: fn(&Known) -> usize| KNOWN.iter().map(text).max().unwrap_or(0);
    let (theirs, ours) = (width(|known| known.theirs.len()), width(|known| known.ours.len()));
    let mut text =
        String::from("vault or bao ...; `coffer` says the same where one of these is typed and is none of its own.\n\n");
    for known in KNOWN {
        let command = if known.ours.is_empty() { "-" } else { known.ours };
        let line = format!("{:<theirs$}  {command:<ours$}  {}", known.theirs, known.note);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the command line understands a command, up to its arguments.
    fn is_command(text: &str) -> bool {
        let mut command = &crate::args::command();
        for word in
            text.split_whitespace().skip(1).take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
        {
            match command.find_subcommand(word) {
                Some(found) => command = found,
                None if word.starts_with('-') => {
                    return command.get_arguments().any(|argument| argument.get_long() == word.get(2..));
                }
                None => return command.get_subcommands().next().is_none(),
            }
        }
        true
    }

    #[test]
    fn what_is_recommended_is_there() {
        for known in KNOWN {
            for command in [known.ours, known.note] {
                for (start, _) in command.match_indices("coffer ") {
                    let text = command.split_at(start).1.split([':', ')', ',', ';']).next().unwrap();
                    assert!(text.contains("--version") || is_command(text), "{text}");
                }
            }
        }
    }

    #[test]
    fn vault_s_commands_are_answered_with_ours() {
        let next = |words: &[&str]| advice(words).unwrap().next.unwrap();
        assert_eq!(next(&["read", "secret/x"]), "coffer kv get PATH");
        assert_eq!(next(&["token", "lookup"]), "coffer whoami");
        assert_eq!(next(&["server", "-dev"]), "coffer dev");
        assert_eq!(next(&["operator", "generate-root", "-init"]), "coffer operator recover");
        assert_eq!(next(&["read", "database/creds/app"]), "coffer issue database/creds/ROLE");
        assert_eq!(next(&["write", "transit/encrypt/key", "plaintext=x"]), "coffer transit encrypt KEY @FILE");
        assert_eq!(next(&["read", "database/credsapp"]), "coffer kv get PATH");
        assert!(advice(&["nonsense"]).is_none() && advice(&[]).is_none());
    }
}
