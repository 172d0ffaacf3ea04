//! The command as a process: exit statuses, streams, files; without a vault.
#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::{
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// The command in a home of its own, with nothing of this process's environment.
fn coffer(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coffer"));
    command.args(arguments).env_clear().env("HOME", home).env("XDG_RUNTIME_DIR", home).stdin(Stdio::null());
    command
}

fn run(home: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = coffer(home, arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let (code, _, error) = run(home.path(), &["context", "set", "here", "--address", "unix:///nonexistent/coffer.sock"]);
    assert_eq!(code, Some(0), "{error}");
    home
}

#[test]
fn each_kind_of_failure_has_its_exit_status() {
    let home = home();
    for (arguments, expected) in [
        (&["help", "exit-codes"][..], 0),
        (&["--version"], 0),
        (&["kv", "put", "--help"], 0),
        (&["context", "list"], 0),
        (&[], 2),
        (&["kv", "gett"], 2),
        (&["kv", "put", "kv/x", "a=1", "--ttl", "0s"], 2),
        (&["kv", "get", "kv/x", "--version", "0"], 2),
        (&["context", "use", "missing"], 2),
        (&["--address", "http://x", "status"], 2),
        (&["operator", "unseal", "coffer-share-canary"], 2),
        (&["kv", "get", "kv/x"], 4),
        (&["whoami"], 4),
        (&["login", "alice"], 2),
        (&["status"], 8),
    ] {
        let (code, _, error) = run(home.path(), arguments);
        assert_eq!(code, Some(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn errors_are_json_on_standard_error_where_that_is_asked_for() {
    let home = home();
    for arguments in [
        &["status", "-o", "json"][..],
        &["--output=json", "kv", "get", "kv/x"],
        &["kv", "gett", "-ojson"],
        &["kv", "put", "-o", "json"],
        &["operator", "unseal", "x", "--output", "json"],
    ] {
        let (code, out, error) = run(home.path(), arguments);
        let json: Value = serde_json::from_str(&error).unwrap_or_else(|why| panic!("{arguments:?}: {why}: {error}"));
        let body = json.get("error").unwrap();
        assert_eq!(body.get("exit_code").and_then(Value::as_i64), code.map(i64::from), "{arguments:?}");
        assert!(body.get("next").is_some(), "{arguments:?} leaves a person alone: {error}");
        assert_eq!(out, "", "{arguments:?}");
    }
}

#[test]
fn a_failure_has_three_lines_without_colour_and_no_panic() {
    let home = home();
    let (_, out, error) = run(home.path(), &["status"]);
    assert_eq!(out, "");
    assert_eq!(
        error,
        "error: cannot read the status: unix:///nonexistent/coffer.sock cannot be reached: No such file or directory\n\
         why:   the server is down, the address is wrong, or the network is in the way\n\
         next:  coffer context show tells the address in use; coffer context use NAME chooses another\n"
    );
}

#[test]
fn a_share_on_the_command_line_is_refused_before_anything_is_sent() {
    let home = home();
    let (_, _, error) = run(home.path(), &["operator", "unseal", "coffer-share-canary"]);
    assert!(error.starts_with("error: a share is not taken from the command line"), "{error}");
    assert!(!error.contains("canary"), "{error}");
}

#[test]
fn the_environment_chooses_the_vault_and_flags_win() {
    let home = home();
    let show = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = coffer(home.path(), &["context", "show", "-o", "json"]);
        let output = command.args(arguments).envs(variables.iter().copied()).output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        (json.get("address").unwrap().as_str().unwrap().to_owned(), json.get("tenant").and_then(Value::as_str).map(str::to_owned))
    };
    assert_eq!(show(&[], &[]).0, "unix:///nonexistent/coffer.sock");
    let variables = [("COFFER_ADDRESS", "https://a"), ("COFFER_TENANT", "t")];
    assert_eq!(show(&variables, &[]), ("https://a".into(), Some("t".into())));
    assert_eq!(show(&variables, &["--address", "https://b"]).0, "https://b");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let home = home();
    let mut child = coffer(home.path(), &["man", "--markdown"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 8];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    // The reader is gone now; what is left does not fit into the pipe.
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_config_that_others_can_change_is_refused() {
    let home = home();
    let config = home.path().join(".config/coffer/config.toml");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    let (code, _, error) = run(home.path(), &["context", "list"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("next:  chmod go= "), "{error}");
}

#[test]
fn contexts_are_made_used_shown_and_forgotten() {
    let home = home();
    let (code, out, _) = run(home.path(), &["context", "set", "dev", "--address", "https://dev:1/", "--tenant", "t", "--use"]);
    assert_eq!((code, out.as_str()), (Some(0), "Context dev is https://dev:1.\n"));
    let (_, out, _) = run(home.path(), &["context", "list"]);
    assert_eq!(
        out,
        "NAME  CURRENT  ADDRESS                          TENANT  CA\n\
         dev   *        https://dev:1                    t       -\n\
         here           unix:///nonexistent/coffer.sock  -       -\n"
    );
    run(home.path(), &["context", "use", "here"]);
    let (code, _, error) = run(home.path(), &["context", "delete", "here"]);
    assert_eq!((code, error.as_str()), (Some(0), "note: no context is current now; choose one: coffer context use NAME\n"));
    assert_eq!(run(home.path(), &["status"]).0, Some(2));
}

#[test]
fn an_identity_is_written_for_its_owner_alone_and_never_over_another() {
    let home = home();
    let file = home.path().join("id.pem");
    let name = file.to_str().unwrap();
    assert_eq!(run(home.path(), &["identity", "create", name]).0, Some(0));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (_, pin, _) = run(home.path(), &["identity", "pin", name]);
    assert!(pin.len() == 65 && pin.trim().bytes().all(|byte| byte.is_ascii_hexdigit()), "{pin}");
    assert_eq!(run(home.path(), &["identity", "create", name]).0, Some(6));
    assert_eq!(run(home.path(), &["identity", "pin", name]).1, pin);
}

#[test]
fn completion_scripts_ask_this_program() {
    let home = home();
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = run(home.path(), &["completion", shell]);
        assert_eq!(code, Some(0));
        assert!(script.contains("COFFER_COMPLETE") && script.contains("coffer"), "{shell}: {script}");
    }
    // Without a vault: commands, options, contexts; and silence about the rest.
    let ask = |words: &[&str]| {
        let mut command = coffer(home.path(), &["--"]);
        command.args(words).env("COFFER_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
        let output = command.env("_CLAP_IFS", " ").output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{words:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(ask(&["coffer", "kv", "undel"]), "undelete");
    assert_eq!(ask(&["coffer", "operator", "init", "--setup"]), "--setup-token-file");
    assert_eq!(ask(&["coffer", "context", "use", "h"]), "here");
    assert_eq!(ask(&["coffer", "kv", "get", "kv/x"]), "");
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let home = home();
    let folder = home.path().join("man1");
    assert_eq!(run(home.path(), &["man", folder.to_str().unwrap()]).0, Some(0));
    for page in [
        "coffer.1",
        "coffer-kv.1",
        "coffer-kv-put.1",
        "coffer-operator-init.1",
        "coffer-kv-rollback.1",
        "coffer-run.1",
        "coffer-dev-token.1",
        "coffer-doctor.1",
    ] {
        assert!(folder.join(page).is_file(), "{page}");
    }
}

#[test]
fn who_knows_vault_is_told_our_word() {
    let home = home();
    for (words, next) in [
        (&["read", "secret/x"][..], "next:  coffer kv get PATH"),
        (&["token", "lookup"], "next:  coffer whoami"),
        (&["operator", "generate-root"], "next:  coffer operator recover"),
        (&["server", "-dev"], "next:  coffer dev"),
        (&["unwrap", "x"], "next:  coffer --help lists the commands"),
    ] {
        let (code, _, error) = run(home.path(), words);
        assert_eq!(code, Some(2), "{words:?}");
        assert!(error.contains(next), "{words:?}: {error}");
    }
    let (code, table, _) = run(home.path(), &["help", "vault"]);
    assert!(code == Some(0) && table.contains("operator generate-root"), "{table}");
    // Words that are the same here.
    for words in
        [&["kv", "ls", "--help"][..], &["kv", "rm", "--help"], &["policy", "read", "--help"], &["policy", "write", "--help"]]
    {
        assert_eq!(run(home.path(), words).0, Some(0), "{words:?}");
    }
}

#[test]
fn a_long_table_is_paged_on_a_terminal_and_nowhere_else() {
    let home = home();
    for number in 0..30 {
        let name = format!("c{number:02}");
        assert_eq!(run(home.path(), &["context", "set", &name, "--address", "https://a:1"]).0, Some(0));
    }
    let (_, piped, _) = run(home.path(), &["context", "list"]);
    assert!(piped.contains("c29") && !piped.contains("paged:"));
    let on_terminal = |pager: &str, variables: &[(&str, &str)]| {
        let mut command = Command::new("script");
        command.arg("-qec").arg(format!("{} context list", env!("CARGO_BIN_EXE_coffer"))).arg("/dev/null");
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home.path()).env("PAGER", pager).env("TERM", "xterm");
        let output = command.envs(variables.iter().copied()).stdin(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let paged = on_terminal("sed s/^/paged:/", &[]);
    assert_eq!(paged.matches("paged:").count(), 32, "{paged}");
    assert!(paged.contains("\u{1b}["), "headings are bold: {paged}");
    assert!(!on_terminal("sed s/^/paged:/", &[("NO_COLOR", "1")]).contains("\u{1b}["));
    for none in ["", "cat", "/no/such/pager"] {
        let text = on_terminal(none, &[]);
        assert!(text.contains("c29") && !text.contains("paged:"), "{none}: {text}");
    }
}

/// A host's root with one setting that fails, of which all else is unknown.
fn host() -> tempfile::TempDir {
    let host = tempfile::tempdir().unwrap();
    fs::create_dir_all(host.path().join("proc/sys/kernel")).unwrap();
    fs::create_dir_all(host.path().join("proc/1")).unwrap();
    fs::write(host.path().join("proc/sys/kernel/randomize_va_space"), "0\n").unwrap();
    host
}

#[test]
fn a_scan_ends_by_the_worst_failure_that_nobody_answers_for() {
    let (home, host) = (home(), host());
    let root = host.path().to_str().unwrap();
    let scan = |more: &[&str]| run(home.path(), &[&["scan", "host", "--root", root], more].concat());
    let (code, table, error) = scan(&[]);
    assert!(code == Some(7) && table.contains("HST-16  high      FAIL") && table.contains("next: sysctl"), "{table}{error}");
    assert!(table.contains("1 failed, "), "{table}");
    for (least, expected) in [("low", 7), ("high", 7), ("critical", 0), ("none", 0), ("worst", 2)] {
        assert_eq!(scan(&["--fail-on", least]).0, Some(expected), "{least}");
    }
    let file = home.path().join("exceptions.yaml");
    let exceptions = |until: &str| {
        fs::write(&file, format!("exceptions:\n- {{check: HST-16, reason: old, owner: ops, until: {until}}}\n")).unwrap();
        scan(&["--exceptions", file.to_str().unwrap()])
    };
    let (code, table, _) = exceptions("2999-12-31");
    assert!(
        code == Some(0) && table.contains("excepted: old (ops, until 2999-12-31)") && table.contains("1 excepted"),
        "{table}"
    );
    let (code, _, note) = exceptions("2020-01-01");
    assert!(code == Some(7) && note.contains("HST-16 ended on 2020-01-01: ops answers for it"), "{note}");
    assert_eq!(exceptions("soon").0, Some(2));
    for (length, expected) in [(1 << 20, 7), ((1 << 20) + 1, 2)] {
        let start = "exceptions: []\n#";
        fs::write(&file, format!("{start}{}", "x".repeat(length - start.len()))).unwrap();
        assert_eq!(scan(&["--exceptions", file.to_str().unwrap()]).0, Some(expected), "{length}");
    }
}

#[test]
fn a_scan_is_told_to_scripts_too() {
    let (home, host) = (home(), host());
    let root = host.path().to_str().unwrap();
    let (code, json, _) = run(home.path(), &["scan", "host", "--root", root, "-o", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["failed"], &json["worst"]), (Some(7), &1.into(), &"high".into()));
    assert!(json["findings"].as_array().unwrap().iter().all(|finding| finding["status"] != "pass"));
    let (code, sarif, _) = run(home.path(), &["scan", "host", "--root", root, "--sarif", "-"]);
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    assert_eq!((code, &sarif["runs"][0]["results"][0]["ruleId"]), (Some(7), &"HST-16".into()));
    for (arguments, expected) in
        [(&["scan"][..], 2), (&["scan", "--list"], 0), (&["scan", "--explain", "hst-16"], 0), (&["scan", "--explain", "X-1"], 2)]
    {
        assert_eq!(run(home.path(), arguments).0, Some(expected), "{arguments:?}");
    }
    assert_eq!(run(home.path(), &["scan", "host", "--root", "/nonexistent"]).0, Some(2));
}
