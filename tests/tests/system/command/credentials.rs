//! `coffer run --credential`.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use coffer_tests::{
    postgres::Postgres,
    process::{Process, Signal},
    wait,
};

use super::{Office, files, script};

/// A program that tells in `$HOME/told` when it begins, and when it hears of a change, what the file `a` has.
const TELLING: &str = "tell() { cat \"$COFFER_FILES/a\" >> \"$HOME/told\"; echo >> \"$HOME/told\"; }\n\
                       trap tell USR1; trap 'exit 5' TERM; tell\nwhile :; do sleep 0.05; done";

/// A database that the vault makes users in, which the developer may have.
fn shop(office: &Office) -> Result<Postgres> {
    let postgres = Postgres::start()?;
    postgres.sql("CREATE ROLE coffer LOGIN CREATEROLE PASSWORD 'keeper'")?;
    let admin = &office.admin;
    admin.ok(["mount", "create", "database", "--engine", "database"])?;
    let port = postgres.port().to_string();
    let connection = ["--host", "127.0.0.1", "--port", &port, "--database", "postgres", "--user", "coffer", "--plaintext"];
    let put = ["database", "connection", "put", "shop", "--password-file", "-"];
    admin.ok_with(put.into_iter().chain(connection), "keeper")?;
    let create = "CREATE ROLE {{name}} LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'";
    let role = ["database", "role", "put", "app", "--connection", "shop", "--create", create];
    admin.ok(role.into_iter().chain(["--ttl", "3s", "--max-ttl", "6s"]))?;
    office.officer.ok(["grant", "read", "database/creds/app", "--to", "operator:dev"])?;
    Ok(postgres)
}

/// How many users the vault has made that are there still.
fn users(postgres: &Postgres) -> Result<usize> {
    Ok(postgres
        .sql("SELECT count(*) FROM pg_roles WHERE rolcanlogin AND rolname NOT IN ('postgres', 'coffer', 'a', 'b')")?
        .parse()?)
}

/// Runs a program with the credential's name in the file `a`.
fn running(office: &Office, options: &[&str]) -> Result<Process> {
    let home = office.developer.home();
    let program = script(home, "program", TELLING)?;
    let mut command = office.developer.command();
    command.arg("run").args(options).arg("--").arg(&program);
    Process::start(&mut command, &home.join("log"))
}

/// Waits until the program has told so much, and gives it.
fn told(home: &Path, lines: usize) -> Result<Vec<String>> {
    wait::until(wait::PATIENCE, "the program to tell", || {
        let told = fs::read_to_string(home.join("told")).unwrap_or_default();
        let told: Vec<String> = told.lines().map(str::to_owned).collect();
        Ok((told.len() >= lines).then_some(told))
    })
}

fn end(mut process: Process) -> Result<()> {
    process.signal(Signal::TERM)?;
    let code = process.wait(wait::PATIENCE)?.code();
    ensure!(code == Some(5), "{code:?}: {}", process.log()?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_program_has_a_user_that_is_replaced_where_it_cannot_be_renewed_and_ends_with_it() -> Result<()> {
    let office = Office::new().await?;
    let (postgres, home) = (shop(&office)?, office.developer.home().to_owned());
    let process = running(&office, &["--watch", "--credential", "a=database/creds/app#username"])?;
    let names = told(&home, 3)?;
    ensure!(names[0] != names[1] && names[1] != names[2], "{names:?}");
    // The program of before is gone, and so is its user.
    wait::until(wait::PATIENCE, "one user", || Ok((users(&postgres)? == 1).then_some(())))?;
    end(process)?;
    ensure!(users(&postgres)? == 0, "a user is left");
    ensure!(files(&home.join("coffer/run"))?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_user_is_renewed_and_not_replaced_where_changes_are_not_followed() -> Result<()> {
    let office = Office::new().await?;
    let (postgres, home) = (shop(&office)?, office.developer.home().to_owned());
    let parameter = ["--parameter", "ttl=2s"];
    let both = ["--credential", "a=database/creds/app#username", "--credential", "all.json=database/creds/app"];
    let process = running(&office, &[both.as_slice(), &parameter].concat())?;
    wait::until(wait::PATIENCE, "a word on it", || Ok(process.log()?.contains("is not replaced without --watch").then_some(())))?;
    let names = told(&home, 1)?;
    ensure!(names.len() == 1, "the program was started anew: {names:?}");
    end(process)?;
    ensure!(users(&postgres)? == 0, "a user is left");

    // A program that cannot be started leaves none either.
    let ran = office.developer.run(["run", "--credential", "a=database/creds/app", "--", "/no/such/program"])?;
    ensure!(ran.code == 127 && users(&postgres)? == 0, "{}", ran.stderr);
    let ran = office.developer.run(["run", "--credential", "a=database/creds/app#none", "--", "true"])?;
    ensure!(ran.code == 3 && users(&postgres)? == 0, "{}: {}", ran.code, ran.stderr);
    let ran = office.developer.run(["run", "--credential", "a=database/creds/other", "--", "true"])?;
    ensure!(ran.code == 3, "{}: {}", ran.code, ran.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_rotation_reaches_the_program_and_is_acknowledged() -> Result<()> {
    let office = Office::new().await?;
    let (postgres, home) = (shop(&office)?, office.developer.home().to_owned());
    for user in ["a", "b"] {
        postgres.sql(&format!("CREATE ROLE {user} LOGIN; GRANT {user} TO coffer WITH ADMIN OPTION"))?;
    }
    let admin = &office.admin;
    admin.ok(["database", "static-role", "put", "reports", "--connection", "shop", "--user", "a", "--user", "b"])?;
    office.officer.ok(["grant", "read", "database/static-creds/reports", "--to", "operator:dev"])?;
    let process =
        running(&office, &["--watch", "--on-change", "signal=USR1", "--credential", "a=database/static-creds/reports#username"])?;
    told(&home, 1)?;
    for expected in ["b", "a"] {
        // Not before the one who has it has said so may the next rotation be.
        wait::until(wait::PATIENCE, "a rotation", || {
            Ok((admin.run(["database", "static-role", "rotate", "reports"])?.code == 0).then_some(()))
        })?;
        wait::until(wait::PATIENCE, "the program to hear", || {
            Ok((told(&home, 1)?.last().map(String::as_str) == Some(expected)).then_some(()))
        })?;
    }
    end(process)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_its_key_are_of_one_credential() -> Result<()> {
    let office = Office::new().await?;
    let admin = &office.admin;
    admin.ok(["mount", "create", "pki", "--engine", "pki"])?;
    admin.ok(["pki", "ca", "create", "root", "--common-name", "Shop Root", "--ttl", "10y"])?;
    admin.ok(["pki", "role", "put", "web", "--allow", "web.shop.svc", "--ttl", "24h"])?;
    office.officer.ok(["grant", "read", "pki/issue/web", "--to", "operator:dev"])?;
    let both = ["--credential", "crt=pki/issue/web#certificate", "--credential", "key=pki/issue/web#private_key"];
    let compare = "test \"$(openssl x509 -in {crt} -noout -pubkey)\" = \"$(openssl pkey -in {key} -pubout)\" && \
                   openssl x509 -in {crt} -noout -ext subjectAltName";
    let ran = office.developer.run(["run"].into_iter().chain(both).chain([
        "--parameter",
        "common_name=web.shop.svc",
        "--",
        "sh",
        "-c",
        compare,
    ]))?;
    ensure!(ran.code == 0 && ran.stdout.contains("DNS:web.shop.svc"), "{}{}", ran.stdout, ran.stderr);
    Ok(())
}
