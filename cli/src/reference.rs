//! The topics of `coffer help`, and the reference as Markdown: docs/cli.md.

use crate::{args, commands::scan, exit::Exit, vault_words};

/// A topic of `coffer help`.
pub struct Topic {
    /// The topic's name on the command line.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    text: fn() -> String,
}

/// Every topic.
pub const TOPICS: &[Topic] = &[
    Topic { name: "exit-codes", title: "Exit codes", text: exit_codes },
    Topic { name: "words", title: "Words", text: || WORDS.to_owned() },
    Topic { name: "paths", title: "Paths", text: || PATHS.to_owned() },
    Topic { name: "vault", title: "If you know Vault", text: vault_words::table },
    Topic { name: "environment", title: "Environment", text: || ENVIRONMENT.to_owned() },
];

/// A topic's text; none where there is no topic of this name.
#[must_use]
pub fn topic(name: &str) -> Option<String> {
    TOPICS.iter().find(|topic| topic.name == name).map(|topic| (topic.text)())
}

fn exit_codes() -> String {
    let mut text = String::new();
    for exit in Exit::ALL {
        text.push_str(&format!("{}  {}\n", exit.code(), exit.meaning()));
    }
    text.push_str(
        "\nErrors go to standard error; with -o json or yaml as {\"error\": {\"exit_code\", \"message\", \"why\", \"next\", \"reason\",\n\
         \"request_id\", \"retryable\"}}. The reason is one of the stable codes of docs/errors.md.\n\
         `coffer status` ends with 5, not with 2 as Vault's does, where the vault is sealed: 2 means that the command line\n\
         is wrong, and a script must not take one for the other.\n\
         `coffer run` ends as the program that it runs: with its status, or with 128 and the signal's number.\n",
    );
    text
}

const WORDS: &str = "\
secret     a map of fields to values at a path; each write makes a new version
path       MOUNT/SEGMENT/...: the mount says which engine keeps it, such as kv
principal  who asks: k8s:CLUSTER/NAMESPACE/SERVICE-ACCOUNT or operator:NAME
user       an operator account of a person or a tool: operator:NAME
role       what an operator is there for: admin runs, officer decides who may read, auditor sees all but values
grant      a principal may read, list, write, delete or destroy at a path
policy     a rule in Cedar, for what grants cannot say; what it forbids, no grant permits
session    what a login yields; bound to a key, so that a stolen token opens nothing
seal       a sealed vault holds no key and serves nothing
share      a part of the unseal key; a quorum of holders unseals
receipt    a release's position in the audit log
cluster    a Kubernetes cluster whose workloads may log in
tenant     an isolated part of the vault, with its own everything; `default` unless said
context    an address with CA and tenant, under a name, for this command line
";

const PATHS: &str = "\
A path is MOUNT/SEGMENT/...: 1 to 32 segments of 1 to 255 bytes, 1,024 bytes in all, case-sensitive, in UTF-8 (NFC).
No slash at either end, no empty segment, no `.` or `..`, no control or invisible characters, no space at either end of a
segment. Anything else is refused, never repaired.

In grants, PATH/** means everything below PATH, and not PATH itself. Quote it: your shell knows * too.
";

const ENVIRONMENT: &str = "\
COFFER_ADDRESS      the vault's address, as --address
COFFER_CACERT       the file with the CA certificates, as --ca
COFFER_CONTEXT      the context, as --context
COFFER_TENANT       the tenant, as --tenant
COFFER_SERVER_NAME  the certificate's name, as --server-name
COFFER_OUTPUT       table, json or yaml, as --output
COFFER_CONFIG       the file of contexts, in place of ~/.config/coffer/config.toml
COFFER_COMPLETE     set by your shell where it asks what could follow: coffer completion
NO_COLOR            where set, nothing is coloured or bold
PAGER               pages lists that do not fit on the terminal, never values; `less -FRX` unless set, none where empty
VISUAL, EDITOR      the editor of `coffer kv edit`; vi where neither is set
XDG_RUNTIME_DIR     your folder in memory: sessions, and the files of kv edit, run and dev; else /dev/shm/coffer-UID

Options win over the environment, and both over the context. With another address than the context's, nothing of the
context is used. There is no variable for a password, a token or a share: other programs of yours could read it.

Sessions are kept in $XDG_RUNTIME_DIR/coffer, which is in memory, or in `sessions` beside the contexts; a file that
others can read is refused.
";

/// The whole reference as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut command = args::command();
    let mut text = String::from("# The `coffer` command\n\nWritten by `coffer man --markdown > docs/cli.md`; a test compares.\n");
    for topic in TOPICS {
        text.push_str(&format!("\n## {}\n\n```text\n{}```\n", topic.title, (topic.text)()));
    }
    text.push_str("\n## Commands\n");
    section(&mut command, "coffer", &mut text);
    text
}

/// Every check as Markdown: docs/checks.md.
#[must_use]
pub fn checks() -> String {
    let checks = scan::sorted();
    let mut text = String::from(
        "# Checks\n\nWritten by `coffer man --checks > docs/checks.md`; a test compares. What checks are for, and how they are used, is in \
         [Scanning](scanning.md).\n\n| check | severity | tier | what holds | benchmarks |\n|---|---|---|---|---|\n",
    );
    for check in &checks {
        let benchmarks = benchmarks(check.benchmarks);
        text.push_str(&format!(
            "| [{0}](#{1}) | {2} | {3} | {4} | {benchmarks} |\n",
            check.id,
            anchor(check.id),
            check.severity,
            check.tier,
            check.title
        ));
    }
    for check in checks {
        text.push_str(&format!(
            "\n## {}\n\n**{}**\n\n{}\n\nWhat to do: {}\n",
            check.id,
            check.title,
            check.why,
            check.remedy.replace('*', "\\*")
        ));
    }
    text
}

fn anchor(id: &str) -> String {
    id.to_lowercase()
}

/// The items of benchmarks, each benchmark once: `CIS-Docker-1.6.0 3.1, 3.2`.
fn benchmarks(items: &[&str]) -> String {
    let mut last = "";
    let mut text = String::new();
    for item in items {
        let (name, number) = item.rsplit_once(' ').unwrap_or((item, ""));
        let separator = if text.is_empty() { "" } else { ", " };
        text.push_str(separator);
        text.push_str(if name == last { number } else { item });
        last = name;
    }
    text
}

fn section(command: &mut clap::Command, path: &str, text: &mut String) {
    let shown = command.clone().mut_args(|argument| {
        let help = argument.get_id() == "help";
        if help { argument.hide(true) } else { argument }
    });
    let help = shown.term_width(100).render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!("\n### {path}\n\n```text\n{}\n```\n", help.join("\n").trim_end()));
    let names: Vec<String> = command.get_subcommands().map(|child| child.get_name().to_owned()).collect();
    for name in names {
        if let Some(child) = command.find_subcommand_mut(&name) {
            section(child, &format!("{path} {name}"), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_in_its_topic() {
        let text = topic("exit-codes").unwrap();
        for exit in Exit::ALL {
            assert!(text.contains(&format!("{}  {}", exit.code(), exit.meaning())), "{exit:?}");
        }
    }

    #[test]
    fn every_variable_that_is_read_is_documented() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                if let Some(variable) = argument.get_env() {
                    assert!(ENVIRONMENT.contains(variable.to_str().unwrap()), "{variable:?} is not documented");
                }
            }
            command.get_subcommands().for_each(check);
        }
        check(&args::command());
    }

    #[test]
    fn the_checks_in_docs_are_this_version_s() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/checks.md");
        let written = std::fs::read_to_string(file).unwrap_or_default();
        assert!(written == checks(), "docs/checks.md is old: cargo run -p coffer-cli -- man --checks > docs/checks.md");
    }

    #[test]
    fn every_check_has_an_id_of_its_own_and_says_all() {
        let checks = scan::sorted();
        for pair in checks.windows(2) {
            assert_ne!(pair[0].id, pair[1].id);
        }
        for check in checks {
            assert!(check.title.len() > 10 && check.why.ends_with('.') && check.remedy.len() > 5, "{}", check.id);
            assert!(!check.title.ends_with('.') && !check.title.contains('|'), "{}", check.id);
        }
    }

    #[test]
    fn the_reference_in_docs_is_this_version_s() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
        let written = std::fs::read_to_string(file).unwrap_or_default();
        assert!(written == markdown(), "docs/cli.md is old: cargo run -p coffer-cli -- man --markdown > docs/cli.md");
    }
}
