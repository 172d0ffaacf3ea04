//! What to tell a person for each of the vault's reason codes. docs/errors.md lists the codes.

use crate::exit::Exit;

/// What a command was about to do, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What was attempted: follows "cannot".
    pub doing: String,
    action: Option<&'static str>,
    path: Option<String>,
    principal: Option<String>,
    listing: &'static str,
}

/// What lists the names that a command takes, where it is not said: most have one.
const LISTING: &str = "the `list` command beside this one";

impl Attempt {
    /// An attempt, as a phrase that follows "cannot": `read kv/prod/db`.
    #[must_use]
    pub fn new(doing: impl Into<String>) -> Self {
        Self { doing: doing.into(), action: None, path: None, principal: None, listing: LISTING }
    }

    /// The action and the path that policy decides about.
    #[must_use]
    pub fn at(mut self, action: &'static str, path: impl Into<String>) -> Self {
        self.action = Some(action);
        self.path = Some(path.into());
        self
    }

    /// Who attempts it.
    #[must_use]
    pub fn by(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
    }

    /// The command that lists what it names, where that is of another kind.
    #[must_use]
    pub const fn of(mut self, listing: &'static str) -> Self {
        self.listing = listing;
        self
    }

    /// The text with `{action}`, `{path}` and `{principal}` filled in. Where action or path are not known, the part
    /// after ` | ` is taken instead: what helps with requests that are not about a path.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        let (with_path, without) = text.split_once(" | ").unwrap_or((text, text));
        // Whoever has no name in grants, such as the holder of a bootstrap credential, can be granted nothing.
        let nameless = self.principal.as_deref().is_some_and(|principal| !principal.contains(':'));
        match (self.action.filter(|_| !nameless), self.path.as_deref()) {
            (Some(action), Some(path)) => with_path
                .replace("{action}", action)
                .replace("{path}", path)
                .replace("{principal}", self.principal.as_deref().unwrap_or("PRINCIPAL")),
            _ => without.replace("{listing}", self.listing),
        }
    }
}

/// What to tell for one reason.
#[derive(Debug, Clone, Copy)]
pub struct Advice {
    /// The code on the wire.
    pub reason: &'static str,
    /// How the command ends.
    pub exit: Exit,
    /// Why; empty where the vault's own message says it all.
    pub why: &'static str,
    /// What to try next.
    pub next: &'static str,
}

/// The advice for a reason code; none for a code that this version does not know.
#[must_use]
pub fn for_reason(reason: &str) -> Option<&'static Advice> {
    ADVICE.iter().chain(LOCAL).find(|advice| advice.reason == reason)
}

const fn advice(reason: &'static str, exit: Exit, why: &'static str, next: &'static str) -> Advice {
    Advice { reason, exit, why, next }
}

/// Every reason code that the vault gives, each once.
pub const ADVICE: &[Advice] = &[
    advice(
        "SESSION_INVALID",
        Exit::NotLoggedIn,
        "the session has ended, was revoked, or belongs to another vault",
        "coffer login NAME",
    ),
    advice(
        "LOGIN_REFUSED",
        Exit::NotLoggedIn,
        "name, password, certificate or credential is wrong; the vault never says which",
        "check the name and the tenant and log in again; an admin can set a new password: coffer user passwd NAME",
    ),
    advice("LOGIN_BUSY", Exit::Unavailable, "too many logins at once, by anyone", "wait a few seconds and log in again"),
    advice(
        "NOT_FOUND_OR_DENIED",
        Exit::Denied,
        "what is not there and what may not be seen look the same | the vault does not say which; some commands need a role",
        "coffer why {principal} {action} {path} explains it; an officer may run: coffer grant {action} {path} --to {principal} | coffer whoami shows your roles",
    ),
    advice(
        "CONDITION_UNMET",
        Exit::Denied,
        "a grant gives it on conditions of the pod, its images or its node, which do not hold",
        "coffer why {principal} {action} {path} tells which, and why; coffer pods shows all | coffer pods shows which, and why",
    ),
    advice(
        "NOT_FOUND",
        Exit::Denied,
        "",
        "coffer kv history {path} shows the versions; coffer kv undelete brings a deleted one back | check the name; {listing} shows what there is",
    ),
    advice("INVALID_ARGUMENT", Exit::Usage, "", "run the command with --help for what it takes"),
    advice(
        "PATH_INVALID",
        Exit::Usage,
        "a path is MOUNT/SEGMENT/...: no slash at either end, no empty, '.' or '..' segment, no control characters",
        "coffer help paths",
    ),
    advice("LIMIT_EXCEEDED", Exit::Usage, "", "make it smaller or split it; docs/limits.md lists every limit"),
    advice("ALREADY_EXISTS", Exit::Conflict, "", "choose another name, or use the `update` command"),
    advice(
        "CONFLICT",
        Exit::Conflict,
        "somebody else changed it meanwhile, or --cas names another version | somebody else changed it meanwhile",
        "coffer kv metadata get {path} shows the newest version; then try again | read it again, then try again",
    ),
    advice("PAGE_TOKEN_INVALID", Exit::Failed, "the list changed too much while it was read", "run the command again"),
    advice("IDEMPOTENCY_MISMATCH", Exit::Conflict, "", "run the command again"),
    advice(
        "SEALED",
        Exit::Sealed,
        "a sealed vault holds no key and serves nothing until its share holders unseal it",
        "coffer operator unseal",
    ),
    advice("NOT_INITIALISED", Exit::Sealed, "the vault has no keys yet", "coffer operator init, on the server's machine"),
    advice("ALREADY_INITIALISED", Exit::Conflict, "this is done once in a vault's life", "coffer status"),
    advice(
        "LOCAL_ONLY",
        Exit::Denied,
        "this is answered on the server's own machine only, or with its set-up token",
        "use --address unix:///PATH/TO/SOCKET there, or --setup-token-file FILE",
    ),
    advice(
        "SHARE_INVALID",
        Exit::Usage,
        "",
        "hand in another share, whole, as `coffer operator init` printed it; coffer status shows how many are missing",
    ),
    advice(
        "SHARE_FOREIGN",
        Exit::Usage,
        "the share is of another vault, or of a set that has been replaced",
        "compare the vault's id in `coffer status` with the one noted beside the share",
    ),
    advice(
        "NONCE_MISMATCH",
        Exit::Conflict,
        "another attempt has begun since",
        "coffer status shows the attempt under way; hand the share in again without --nonce",
    ),
    advice("SELF_GRANT", Exit::Denied, "nobody grants to themselves", "ask another officer to make the grant"),
    advice(
        "ROLE_NOT_HELD",
        Exit::Denied,
        "a role is given only by one who holds it",
        "coffer whoami shows your roles; ask somebody who holds the role",
    ),
    advice(
        "LAST_ADMIN",
        Exit::Conflict,
        "a vault without an admin could not be run",
        "make another admin first: coffer user create NAME --role admin",
    ),
    advice("POLICY_INVALID", Exit::Usage, "", "coffer policy lint @FILE shows every finding"),
    advice(
        "KEYS_INVALID",
        Exit::Usage,
        "the cluster's keys hold no RS256 or ES256 key that can be used",
        "kubectl get --raw /openid/v1/jwks > jwks.json, then --jwks @jwks.json",
    ),
    advice(
        "KEYS_UNREACHABLE",
        Exit::Unavailable,
        "the server, not this machine, must reach the URL and believe its certificate",
        "check URL and CA, or give the keys themselves: --jwks @FILE",
    ),
    advice(
        "TARGET_UNAVAILABLE",
        Exit::Unavailable,
        "the server, not this machine, must reach the database; what was begun there is undone",
        "try again; coffer database connection get NAME shows how it is reached",
    ),
    advice("TARGET_REFUSED", Exit::Failed, "", "coffer database role check NAME tries a role; the database's own log says more"),
    advice("BUSY", Exit::Unavailable, "", "wait a moment and try again"),
    advice(
        "UNAVAILABLE",
        Exit::Unavailable,
        "the vault's store or audit log does not answer in time",
        "try again; the server's log says more",
    ),
    advice(
        "DISK_FULL",
        Exit::Unavailable,
        "where nothing can be recorded nothing is answered; what was acknowledged is safe",
        "on the server's machine: make room (df shows where it is missing), then restart coffer-server",
    ),
    advice(
        "CORRUPT",
        Exit::Failed,
        "stored data do not open: moved, changed or damaged",
        "stop and keep the store as it is; the server's log says which record",
    ),
    advice("INTERNAL", Exit::Failed, "a fault of the vault", "look for the request id in the server's log, and report it"),
];

/// What the client says itself, where no vault has answered.
const LOCAL: &[Advice] = &[
    advice(
        "CONFIG_INVALID",
        Exit::Usage,
        "",
        "coffer context show tells the address and the CA file in use; --ca FILE names another",
    ),
    advice(
        "SERVER_UNTRUSTED",
        Exit::Failed,
        "somebody else may be answering there, or the CA file is not this vault's; nothing was sent",
        "get the CA certificate from whoever runs the vault: coffer context set NAME --ca CA.pem; for another name: --server-name",
    ),
    advice(
        "UNREACHABLE",
        Exit::Unavailable,
        "the server is down, the address is wrong, or the network is in the way",
        "coffer context show tells the address in use; coffer context use NAME chooses another",
    ),
    advice("DEADLINE_EXCEEDED", Exit::Unavailable, "", "try again, or give it longer: --timeout 2m"),
    advice(
        "UNKNOWN",
        Exit::Failed,
        "what answers there may not be a vault, or be one of another version",
        "coffer context show tells the address in use",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_reason_has_one_advice_that_says_what_to_try() {
        let mut seen = HashSet::new();
        for advice in ADVICE.iter().chain(LOCAL) {
            assert!(seen.insert(advice.reason), "{} twice", advice.reason);
            assert_ne!(advice.exit, Exit::Done, "{}", advice.reason);
            assert!(!advice.next.is_empty(), "{} leaves a person alone", advice.reason);
        }
    }

    #[test]
    fn who_names_something_that_is_not_there_is_told_what_lists_it() {
        let next = for_reason("NOT_FOUND").unwrap().next;
        assert!(Attempt::new("delete it").fill(next).contains("`list` command beside this one"));
        let grant = Attempt::new("grant it").of("coffer cluster list");
        assert_eq!(grant.fill(next), "check the name; coffer cluster list shows what there is");
    }

    #[test]
    fn advice_without_a_path_names_no_placeholder() {
        for advice in ADVICE.iter().chain(LOCAL) {
            for text in [advice.why, advice.next] {
                let filled = Attempt::new("do it").fill(text);
                assert!(!filled.contains('{') && !filled.contains(" | "), "{}: {filled}", advice.reason);
            }
        }
    }

    #[test]
    fn there_is_advice_for_exactly_the_documented_reasons() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
        let text = std::fs::read_to_string(file).unwrap();
        let documented: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(code, _)| code).collect();
        let documented: Vec<&str> =
            documented.into_iter().filter(|code| code.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect();
        let advised: Vec<&str> = ADVICE.iter().map(|advice| advice.reason).collect();
        assert_eq!(advised, documented);
    }
}
