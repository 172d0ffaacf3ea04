//! `coffer kv`.

use anyhow::{Context as _, Result};
use coffer_client::{
    Error,
    proto::{DestroySecretRequest, GetSecretMetadataRequest, RollbackSecretRequest, TailAuditRequest},
};
use coffer_tests::{
    process::{Process, Signal},
    wait,
};

use super::{Office, files, json, person, run_with_environment, script};
use crate::vault::{ADMIN, AUDITOR, OFFICER, PASSWORD};

#[tokio::test(flavor = "multi_thread")]
async fn who_may_write_and_not_read_goes_back_to_an_older_version() -> Result<()> {
    let office = Office::new().await?;
    let (admin, developer) = (&office.admin, &office.developer);
    for value in ["one", "two", "three"] {
        admin.ok(["kv", "put", "kv/dev/db", &format!("password={value}")])?;
    }
    assert_eq!(admin.run(["kv", "get", "kv/dev/db"])?.code, 3);
    let history = json(admin, &["kv", "history", "kv/dev/db"])?;
    let versions: Vec<_> = history.as_array().unwrap().iter().map(|version| version["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, [3, 2, 1]);

    let stale = admin.run(["kv", "rollback", "kv/dev/db", "--version", "1", "--cas", "2"])?;
    assert_eq!(stale.code, 6, "{}", stale.stderr);
    let planned = admin.ok(["kv", "rollback", "kv/dev/db", "--version", "1", "--dry-run"])?;
    assert!(planned.contains("version 1 is live") && planned.contains("Nothing was changed."), "{planned}");
    let done = admin.ok(["kv", "rollback", "kv/dev/db", "--version", "1", "--cas", "3"])?;
    assert_eq!(done, "kv/dev/db: version 4 written, with the fields of version 1\n");
    assert_eq!(developer.ok(["kv", "get", "kv/dev/db", "--field", "password"])?, "one");

    // What is deleted is brought back by who may do that, and not this way.
    admin.ok(["kv", "delete", "kv/dev/db", "--versions", "2"])?;
    let deleted = admin.run(["kv", "rollback", "kv/dev/db", "--version", "2"])?;
    assert_eq!(deleted.code, 3);
    assert!(deleted.stderr.contains("it is deleted"), "{}", deleted.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_twice_with_one_key_is_done_once_and_its_record_has_hashes_of_the_values() -> Result<()> {
    let office = Office::new().await?;
    let admin = office.vault.operator(ADMIN).await?;
    for value in ["canary-1", "canary-2"] {
        office.vault.put("kv/dev/db", "password", value).await?;
    }
    let request = RollbackSecretRequest {
        path: "kv/dev/db".into(),
        version: 1,
        idempotency_key: "once".into(),
        ..RollbackSecretRequest::default()
    };
    let mut versions = Vec::new();
    for _ in 0..2 {
        let answer = admin.kv().rollback_secret(request.clone()).await?.into_inner();
        versions.push(answer.version.map(|version| version.version));
    }
    assert_eq!(versions, [Some(3), Some(3)]);
    let other = RollbackSecretRequest { version: 2, ..request };
    assert!(admin.kv().rollback_secret(other).await.is_err(), "another request under the same key");

    // The record of the rollback, and that of the write whose value it brings back, have the same hash.
    let auditor = office.vault.operator(AUDITOR).await?;
    let read = async || {
        let tail = TailAuditRequest { last: 50, ..TailAuditRequest::default() };
        let mut entries = auditor.audit().tail_audit(tail).await?.into_inner();
        let mut records = Vec::new();
        while let Some(entry) = entries.message().await? {
            assert!(!entry.record_json.contains("canary"));
            records.push(serde_json::from_str::<serde_json::Value>(&entry.record_json)?);
        }
        anyhow::Ok(records)
    };
    // A write is answered once the store has its record: the log may have it a little later.
    let records = tokio::time::timeout(wait::PATIENCE, async {
        loop {
            let records = read().await?;
            if records.iter().any(|record| record.to_string().contains("KvService/RollbackSecret")) {
                return anyhow::Ok(records);
            }
        }
    });
    let records = records.await??;
    let of = |rpc: &str| -> Vec<_> {
        let named = records.iter().filter(|record| record.to_string().contains(rpc));
        named.map(|record| record["value_hmacs"]["password"].clone()).filter(|hash| !hash.is_null()).collect()
    };
    let (written, back) = (of("KvService/PutSecret\""), of("KvService/RollbackSecret\""));
    assert!(written.len() == 2 && back.first() == written.first(), "{written:?} {back:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_names_fields_and_hides_values_unless_asked() -> Result<()> {
    let office = Office::new().await?;
    let developer = &office.developer;
    developer.ok(["kv", "put", "kv/dev/db", "user=app", "password=canary-1", "old=canary-2"])?;
    developer.ok(["kv", "put", "kv/dev/db", "user=app", "password=canary-three", "new=canary-4"])?;
    let masked = developer.ok(["kv", "diff", "kv/dev/db", "1", "2"])?;
    assert_eq!(
        masked,
        "kv/dev/db, version 1 to version 2\n\n\
         FIELD     CHANGE   OLD         NEW\n\
         new       added    -           (8 bytes)\n\
         old       removed  (8 bytes)   -\n\
         password  changed  (8 bytes)   (12 bytes)\n\n\
         1 field is the same.\n"
            .replace("(8 bytes)   ", "(8 bytes)  ")
            .replace("OLD         ", "OLD        ")
            .replace("-           (8", "-          (8")
    );
    assert!(!json(developer, &["kv", "diff", "kv/dev/db"])?.to_string().contains("canary"));
    let shown = json(developer, &["kv", "diff", "kv/dev/db", "1", "--show-values"])?;
    assert_eq!(shown["fields"]["password"]["from"], "canary-1");
    assert_eq!(shown["fields"]["new"]["to"], "canary-4");
    assert_eq!(office.admin.run(["kv", "diff", "kv/dev/db", "1", "2"])?.code, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_does_not_overwrite_and_a_move_deletes_what_it_copied() -> Result<()> {
    let office = Office::new().await?;
    let coffer = &office.developer;
    coffer.ok(["kv", "put", "kv/dev/a", "n=1"])?;
    coffer.ok(["kv", "put", "kv/dev/a", "n=2", "--ttl", "1d"])?;
    coffer.ok(["kv", "metadata", "put", "kv/dev/a", "--set", "owner=me"])?;
    assert_eq!(coffer.ok(["kv", "cp", "kv/dev/a", "kv/dev/b"])?, "kv/dev/a copied to kv/dev/b\n");
    let copy = json(coffer, &["kv", "get", "kv/dev/b"])?;
    assert_eq!((copy["fields"]["n"].as_str(), copy["custom_metadata"]["owner"].as_str()), (Some("2"), Some("me")));
    assert!(copy["expires"].is_string(), "the copy would outlive what it is a copy of: {copy}");

    coffer.ok(["kv", "put", "kv/dev/b", "n=mine"])?;
    let refused = coffer.run(["kv", "copy", "kv/dev/a", "kv/dev/b"])?;
    assert_eq!(refused.code, 6, "{}", refused.stderr);
    assert_eq!(coffer.ok(["kv", "get", "kv/dev/b", "-f", "n"])?, "mine");
    coffer.ok(["kv", "copy", "kv/dev/a", "kv/dev/b", "--overwrite"])?;
    assert_eq!(coffer.ok(["kv", "get", "kv/dev/b", "-f", "n"])?, "2");

    coffer.ok(["kv", "mv", "kv/dev/a", "kv/dev/moved/"])?;
    assert_eq!(coffer.ok(["kv", "get", "kv/dev/moved/a", "-f", "n"])?, "2");
    for version in ["1", "2"] {
        assert_eq!(coffer.run(["kv", "get", "kv/dev/a", "--version", version])?.code, 3, "version {version} is still there");
    }
    coffer.ok(["kv", "undelete", "kv/dev/a", "--versions", "1,2"])?;
    coffer.ok(["kv", "move", "kv/dev/a", "kv/dev/again", "--destroy", "--yes"])?;
    assert_eq!(coffer.run(["kv", "history", "kv/dev/a"])?.code, 3);

    // What may not be read is not moved, and stays.
    office.admin.ok(["kv", "put", "kv/other", "n=1"])?;
    assert_eq!(coffer.run(["kv", "move", "kv/other", "kv/dev/other"])?.code, 3);
    // Where the copy cannot be written, the original stays.
    assert_eq!(coffer.run(["kv", "move", "kv/dev/again", "kv/elsewhere"])?.code, 3);
    assert_eq!(coffer.ok(["kv", "get", "kv/dev/again", "-f", "n"])?, "2");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_after_it_was_looked_at_is_not_erased() -> Result<()> {
    let office = Office::new().await?;
    let coffer = &office.developer;
    coffer.ok(["kv", "put", "kv/dev/a", "n=1"])?;
    let admin = office.vault.operator(ADMIN).await?;
    let destroy = async |etag: &str| {
        let request = DestroySecretRequest { path: "kv/dev/a".to_owned(), etag: etag.to_owned() };
        admin.kv().destroy_secret(request).await.map_err(Error::from)
    };
    let etag = async || -> Result<String> {
        let request = GetSecretMetadataRequest { path: "kv/dev/a".to_owned() };
        Ok(admin.kv().get_secret_metadata(request).await?.into_inner().metadata.context("it is there")?.etag)
    };
    let seen = etag().await?;
    coffer.ok(["kv", "put", "kv/dev/a", "n=2"])?;
    assert_eq!(destroy(&seen).await.unwrap_err().reason(), "CONFLICT");
    assert_eq!(coffer.ok(["kv", "get", "kv/dev/a", "-f", "n"])?, "2");
    destroy(&etag().await?).await?;
    assert_eq!(coffer.run(["kv", "history", "kv/dev/a"])?.code, 3);

    // One who may not list cannot tell whether what goes is what was copied: nothing is copied, either.
    let path = "kv/dev/blind/a";
    office.admin.ok(["kv", "put", path, "n=1"])?;
    office.admin.ok_with(["user", "create", "blind", "--password-file", "-"], PASSWORD)?;
    let officer = person(&office.vault, OFFICER)?;
    officer.ok(["grant", "read,write,destroy", "kv/dev/blind/**", "--to", "operator:blind"])?;
    let refused = person(&office.vault, "blind")?.run(["kv", "move", path, "kv/dev/blind/b", "--destroy", "--yes"])?;
    assert!(refused.code == 3 && refused.stderr.contains("is not moved"), "{}: {}", refused.code, refused.stderr);
    assert_eq!(coffer.ok(["kv", "get", path, "-f", "n"])?, "1");
    assert_eq!(coffer.run(["kv", "get", "kv/dev/blind/b"])?.code, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_are_listed_searched_copied_and_moved() -> Result<()> {
    let office = Office::new().await?;
    let coffer = &office.developer;
    for path in ["kv/dev/shop/api", "kv/dev/shop/api/tls", "kv/dev/shop/Web/TLS-key", "kv/dev/zoo"] {
        coffer.ok(["kv", "put", path, "n=1"])?;
    }
    assert_eq!(coffer.ok(["kv", "ls", "kv/dev/"])?, "shop/\nzoo\n");
    assert_eq!(coffer.ok(["kv", "list", "kv/dev", "-R"])?, "shop/Web/TLS-key\nshop/api\nshop/api/tls\nzoo\n");
    assert_eq!(coffer.ok(["kv", "search", "tls", "kv/dev"])?, "kv/dev/shop/Web/TLS-key\nkv/dev/shop/api/tls\n");
    assert_eq!(coffer.run(["kv", "search", "nothing", "kv/dev"])?.code, 3);
    assert_eq!(coffer.run(["kv", "list", "kv", "-R"])?.stdout, "", "it may list kv/dev only");

    let planned = coffer.ok(["kv", "copy", "-r", "kv/dev/shop", "kv/dev/copy", "--dry-run"])?;
    assert!(planned.contains("kv/dev/shop/api/tls -> kv/dev/copy/api/tls\n") && planned.contains("3 secrets would"), "{planned}");
    assert_eq!(coffer.run(["kv", "list", "kv/dev/copy"])?.stdout, "");
    coffer.ok(["kv", "copy", "-r", "kv/dev/shop", "kv/dev/copy"])?;
    let again = coffer.run(["kv", "copy", "-r", "kv/dev/shop", "kv/dev/copy"])?;
    assert_eq!(again.code, 6, "{}", again.stderr);
    assert_eq!(coffer.ok(["kv", "move", "-r", "kv/dev/shop", "kv/dev/new"])?, "3 secrets moved from kv/dev/shop to kv/dev/new\n");
    assert_eq!(coffer.ok(["kv", "get", "kv/dev/new/Web/TLS-key", "-f", "n"])?, "1");
    assert_eq!(coffer.run(["kv", "get", "kv/dev/shop/api/tls"])?.code, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_editor_changes_fields_in_memory_and_leaves_nothing() -> Result<()> {
    let office = Office::new().await?;
    let coffer = &office.developer;
    coffer.ok(["kv", "put", "kv/dev/db", "user=app", "password=canary"])?;
    let home = coffer.home().to_owned();
    let edit = |body: &str| -> Result<_> {
        let editor = script(&home, "editor", body)?;
        run_with_environment(coffer, &[("EDITOR", editor.to_str().unwrap())], &["kv", "edit", "kv/dev/db"])
    };
    let seen = home.join("seen");
    let done =
        edit(&format!("stat -c %a \"$1\" > {0}; stat -f -c %T \"$1\" >> {0}; sed -i s/canary/changed/ \"$1\"", seen.display()))?;
    assert_eq!((done.code, done.stdout.as_str()), (0, "kv/dev/db: version 2 written\n"), "{}", done.stderr);
    assert_eq!(std::fs::read_to_string(&seen)?, "600\ntmpfs\n");
    assert_eq!(coffer.ok(["kv", "get", "kv/dev/db", "-f", "password"])?, "changed");

    let unchanged = edit("true")?;
    assert_eq!(unchanged.stdout, "kv/dev/db: unchanged, nothing is written\n");
    let failed = edit("sed -i s/changed/lost/ \"$1\"; exit 3")?;
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    // What cannot be read comes back to the editor with the reason, until it is right, or nobody changes it any more.
    let count = home.join("count");
    let body = "echo x >> COUNT; case $(wc -l < COUNT) in 1) echo 'port: 5432' >> \"$1\";; \
                *) grep -q '^# error: field .port. is a number' \"$1\" && sed -i s/5432/\"'5432'\"/ \"$1\";; esac";
    let mended = edit(&body.replace("COUNT", count.to_str().unwrap()))?;
    assert_eq!((mended.code, mended.stdout.as_str()), (0, "kv/dev/db: version 3 written\n"), "{}", mended.stderr);
    let given_up = edit("grep -q broken \"$1\" || echo ': broken' >> \"$1\"")?;
    assert_eq!(given_up.code, 2, "{}", given_up.stderr);
    assert!(given_up.stderr.contains("nothing is written"), "{}", given_up.stderr);

    // Somebody else was faster.
    let other = format!(
        "env HOME={0} XDG_RUNTIME_DIR={0} {1} kv patch kv/dev/db password=faster > /dev/null && sed -i s/changed/slower/ \"$1\"",
        home.display(),
        coffer.command().get_program().display()
    );
    let conflict = edit(&other)?;
    assert_eq!(conflict.code, 6, "{}", conflict.stderr);
    assert_eq!(coffer.ok(["kv", "get", "kv/dev/db", "-f", "password"])?, "faster");
    assert_eq!(files(&home.join("coffer/edit"))?, Vec::<std::path::PathBuf>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_is_told_to_end_leaves_nothing() -> Result<()> {
    let office = Office::new().await?;
    let coffer = &office.developer;
    coffer.ok(["kv", "put", "kv/dev/db", "password=canary"])?;
    let home = coffer.home();
    let editor = script(home, "editor", "touch \"$HOME/started\"; exec sleep 1000")?;
    let mut command = coffer.command();
    command.env("EDITOR", &editor).args(["kv", "edit", "kv/dev/db"]);
    let mut process = Process::start(&mut command, &home.join("log"))?;
    wait::until(wait::PATIENCE, "the editor", || Ok(home.join("started").exists().then_some(())))?;
    assert_eq!(files(&home.join("coffer/edit"))?.len(), 2, "the file and its lock");
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait(wait::PATIENCE)?.code(), Some(1), "{}", process.log()?);
    assert_eq!(files(&home.join("coffer/edit"))?.len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing_and_shows_no_value() -> Result<()> {
    let office = Office::new().await?;
    let coffer = &office.developer;
    coffer.ok(["kv", "put", "kv/dev/db", "n=1"])?;
    let before = json(coffer, &["kv", "history", "kv/dev/db"])?;
    for arguments in [
        &["kv", "put", "kv/dev/db", "password=canary", "--dry-run"][..],
        &["kv", "patch", "kv/dev/db", "password=canary", "--cas", "1", "--dry-run"],
        &["kv", "delete", "kv/dev/db", "--dry-run"],
        &["kv", "destroy", "kv/dev/db", "--versions", "1", "--dry-run"],
        &["kv", "move", "kv/dev/db", "kv/dev/other", "--destroy", "--dry-run"],
        &["kv", "metadata", "put", "kv/dev/db", "--set", "owner=canary", "--dry-run"],
        &["kv", "metadata", "delete", "kv/dev/db", "--dry-run"],
    ] {
        let text = coffer.ok(arguments)?;
        assert!(text.contains("Nothing was changed") && !text.contains("canary"), "{arguments:?}: {text}");
        assert!(json(coffer, arguments)?["dry_run"].as_bool().unwrap(), "{arguments:?}");
    }
    let wrong = coffer.run(["kv", "put", "kv/dev/db", "n=2", "--cas", "7", "--dry-run"])?;
    assert_eq!(wrong.code, 6, "{}", wrong.stderr);
    assert_eq!(coffer.run(["kv", "undelete", "kv/dev/db", "--versions", "9", "--dry-run"])?.code, 3);
    assert_eq!(json(coffer, &["kv", "history", "kv/dev/db"])?, before);
    Ok(())
}
