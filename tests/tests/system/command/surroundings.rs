//! `coffer doctor`, `status`, completion, and output in other forms.

use std::fs;

use anyhow::{Context as _, Result};
use coffer_tests::{command::Coffer, programs::Programs};
use serde_json::Value;

use super::{Office, json, run_with_environment};

/// A check: its name, its state, and what was found.
type Check = (String, String, String);

/// What the doctor says, and how it ends.
fn doctor(coffer: &Coffer, arguments: &[&str]) -> Result<(i32, Vec<Check>)> {
    let ran = coffer.run(arguments.iter().copied().chain(["doctor", "-o", "json"]))?;
    let found: Value = serde_json::from_str(&ran.stdout).with_context(|| ran.stderr.clone())?;
    let text = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
    let checks = found["checks"].as_array().context("checks")?;
    Ok((ran.code, checks.iter().map(|check| (text(check, "name"), text(check, "state"), text(check, "found"))).collect()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_what_is_wrong_and_says_so() -> Result<()> {
    let mut office = Office::new().await?;
    let (code, checks) = doctor(&office.developer, &[])?;
    assert_eq!(code, 0, "{checks:?}");
    for name in ["context", "CA", "connection", "TLS", "clock", "version", "vault", "session", "memory"] {
        assert!(checks.iter().any(|(found, state, _)| found == name && state == "ok"), "{name}: {checks:?}");
    }
    let failed = |checks: &[Check]| -> Vec<(String, String)> {
        checks.iter().filter(|(_, state, _)| state == "fail").map(|(name, _, found)| (name.clone(), found.clone())).collect()
    };

    // A name, and one that leads nowhere.
    let named = office.vault.server.url()?.replace("127.0.0.1", "localhost");
    let ca = office.vault.server.ca();
    let ca = ca.to_str().context("a plain path")?;
    let (_, checks) = doctor(&office.developer, &["--address", &named, "--ca", ca])?;
    assert!(checks.iter().any(|(name, state, _)| name == "address" && state == "ok"), "{checks:?}");
    let (code, checks) = doctor(&office.developer, &["--address", "https://coffer.invalid", "--ca", ca])?;
    assert!(code == 7 && failed(&checks)[0].0 == "address", "{checks:?}");
    // Another CA.
    let other = Office::new().await?;
    let ca = other.vault.server.ca();
    let (code, checks) = doctor(&office.developer, &["--ca", ca.to_str().context("a plain path")?])?;
    let found = failed(&checks);
    assert!(code == 7 && found.len() == 1 && found[0].0 == "TLS", "{checks:?}");
    let nothing = office.developer.home().join("nothing.pem");
    fs::write(&nothing, "nothing")?;
    let (_, checks) = doctor(&office.developer, &["--ca", nothing.to_str().context("a plain path")?])?;
    assert_eq!(failed(&checks)[0].0, "CA", "{checks:?}");
    // Another name than the certificate's.
    let (_, checks) = doctor(&office.developer, &["--server-name", "elsewhere.example"])?;
    assert!(failed(&checks)[0].1.contains("NotValidForName"), "{checks:?}");
    // Nobody there.
    office.vault.server.kill()?;
    let (code, checks) = doctor(&office.developer, &[])?;
    assert!(code == 7 && failed(&checks)[0].0 == "connection", "{checks:?}");
    // Sealed.
    office.vault.server.start()?;
    let (code, checks) = doctor(&office.developer, &[])?;
    assert!(code == 7 && failed(&checks) == [("vault".to_owned(), "sealed: 0 of 2 shares".to_owned())], "{checks:?}");
    // Nothing at all.
    let (code, checks) = doctor(&Coffer::new(Programs::built()?)?, &[])?;
    assert!(code == 7 && failed(&checks)[0].0 == "context", "{checks:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_more_to_who_may_see_more() -> Result<()> {
    let office = Office::new().await?;
    let admin = office.admin.ok(["status"])?;
    for line in ["Address", "Sealed       no", "Store        sled", "Audit log", "Logged in    operator:ada, the session ends in"]
    {
        assert!(admin.contains(line), "{line}: {admin}");
    }
    let developer = office.developer.ok(["status"])?;
    assert!(developer.contains("Logged in    operator:dev") && !developer.contains("Store"), "{developer}");
    assert_eq!(office.developer.run(["status", "--long"])?.code, 3);
    Ok(())
}

/// What a shell is told when it asks.
fn completed(coffer: &Coffer, words: &[&str]) -> Result<Vec<String>> {
    let index = (words.len() - 1).to_string();
    let mut command = coffer.command();
    command.env("COFFER_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", index).env("_CLAP_IFS", "\n").arg("--").args(words);
    let output = command.output()?;
    assert_eq!(String::from_utf8(output.stderr)?, "", "{words:?}: a shell shows it in the middle of a line");
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_completes_names_that_the_vault_knows() -> Result<()> {
    let mut office = Office::new().await?;
    let coffer = &office.developer;
    for path in ["kv/dev/shop/api", "kv/dev/ship", "kv/dev/zoo"] {
        coffer.ok(["kv", "put", path, "n=1"])?;
    }
    assert_eq!(completed(coffer, &["coffer", "kv", "get", "kv/dev/sh"])?, ["kv/dev/ship", "kv/dev/shop/"]);
    assert_eq!(completed(coffer, &["coffer", "kv", "get", "k"])?, ["kv/"]);
    assert_eq!(completed(coffer, &["coffer", "kv", "move", "kv/dev/zoo", "kv/dev/z"])?, ["kv/dev/zoo"]);
    assert_eq!(completed(coffer, &["coffer", "run", "--file", "a=kv/dev/z"])?, ["a=kv/dev/zoo"]);
    assert_eq!(completed(coffer, &["coffer", "--context", ""])?, ["t"]);
    assert!(completed(coffer, &["coffer", "kv", "his"])?.contains(&"history".to_owned()));
    let admin = &office.admin;
    assert_eq!(completed(admin, &["coffer", "user", "get", "o"])?, ["olga", "otto"]);
    assert_eq!(completed(admin, &["coffer", "cluster", "get", "t"])?, ["test"]);
    // What may not be listed, a vault that is away, and nobody logged in: nothing, and no word.
    assert!(completed(admin, &["coffer", "policy", "get", ""])?.iter().all(|word| word.starts_with('-')));
    assert!(completed(&Coffer::new(Programs::built()?)?, &["coffer", "kv", "get", "kv/dev/"])?.is_empty());
    office.vault.server.kill()?;
    assert!(completed(&office.developer, &["coffer", "kv", "get", "kv/dev/"])?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn yaml_says_what_json_says() -> Result<()> {
    let office = Office::new().await?;
    let coffer = &office.developer;
    coffer.ok(["kv", "put", "kv/dev/db", "user=app", "port=0123", "yes=no"])?;
    let yaml = coffer.ok(["kv", "get", "kv/dev/db", "-o", "yaml"])?;
    assert!(yaml.contains("\nfields:\n  port: '0123'\n  user: app\n") || yaml.contains("port: \"0123\""), "{yaml}");
    assert_eq!(coffer.ok(["kv", "get", "kv/dev/db", "-f", "user", "-o", "yaml"])?, "app\n");
    assert_eq!(coffer.ok(["kv", "list", "kv/dev", "-o", "yaml"])?, "- name: db\n  secret: true\n  folder: false\n");
    let refused = run_with_environment(coffer, &[("COFFER_OUTPUT", "yaml")], &["kv", "get", "kv/other"])?;
    assert_eq!(refused.code, 3);
    assert!(refused.stderr.starts_with("error:\n  exit_code: 3\n"), "{}", refused.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_what_is_no_secret_changes_nothing_either() -> Result<()> {
    let office = Office::new().await?;
    let (admin, officer) = (&office.admin, super::person(&office.vault, crate::vault::OFFICER)?);
    let before = json(&officer, &["grants"])?;
    let planned = officer.ok(["grant", "read", "kv/dev/**", "--to", "operator:dev", "--dry-run"])?;
    assert!(
        planned.contains("already: delete, destroy, list, read, write") && planned.contains("Nothing was changed."),
        "{planned}"
    );
    officer.ok(["revoke", "read", "kv/dev/**", "--from", "operator:dev", "--dry-run"])?;
    assert_eq!(officer.run(["revoke", "read", "kv/none", "--from", "operator:dev", "--dry-run"])?.code, 3);
    assert_eq!(json(&officer, &["grants"])?, before);
    admin.ok(["user", "create", "new", "--role", "admin", "--dry-run"])?;
    assert_eq!(admin.run(["user", "get", "new"])?.code, 3);
    assert_eq!(admin.run(["user", "create", "dev", "--dry-run"])?.code, 6);
    admin.ok(["user", "delete", "dev", "--dry-run"])?;
    admin.ok(["cluster", "delete", "test", "--dry-run"])?;
    admin.ok(["cluster", "get", "test"])?;
    let policy = officer.home().join("p.cedar");
    fs::write(&policy, "nonsense")?;
    let file = format!("@{}", policy.display());
    assert_eq!(officer.run(["policy", "put", "p", &file, "--dry-run"])?.code, 7);
    fs::write(&policy, r#"permit (principal in Role::"auditor", action == Action::"list", resource in Folder::"kv/none");"#)?;
    officer.ok(["policy", "put", "p", &file, "--dry-run"])?;
    assert_eq!(officer.run(["policy", "get", "p"])?.code, 3);
    Ok(())
}
