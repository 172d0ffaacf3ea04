//! The steps, in order.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{
    issuer::{Issuer, uuid},
    memory,
    process::Process,
    programs::Programs,
    server::Server,
    wait::{self, PATIENCE},
};

use crate::{
    account::{Account, Seen, say, seconds},
    stage::{Person, Running, Workload, json, path, text},
};

const SECRET: &str = "kv/shop/api";

/// The whole demonstration.
pub(crate) fn run(running: &Running, keep: bool) -> Result<()> {
    Account::title("Coffer: a secret goes from the encrypted store into a workload's memory");
    say("Building the server, the agent and the command; the first time takes some minutes.");
    let programs = Programs::built_in_sight()?;
    say("");
    let begin = Instant::now();
    let mut account = Account::default();

    let mut server = Server::new(&programs)?.with("log", "level", "info");
    account.step("The server starts: sled store, TLS 1.3", |seen| start(&mut server, running, seen))?;
    let fruits =
        account.step("The vault is initialised, and unsealed by two of three shares", |seen| open(&programs, &server, seen))?;
    let people = account.step("An admin, an officer and an auditor are let in", |_| let_in(&programs, &server, &fruits))?;
    let issuer = Issuer::es256("https://kubernetes.default.svc.cluster.local")?;
    let first = uuid()?;
    account.step("The admin registers a cluster's keys and puts a secret", |seen| fill(&people, &issuer, &first, seen))?;
    account.step("The officer grants it to one service account", |seen| {
        people.officer.coffer.ok(["grant", "read", SECRET, "--to", "k8s:local/shop/api"])?;
        seen.line(format!("coffer grant read {SECRET} --to k8s:local/shop/api"));
        Ok(())
    })?;
    let api = Workload::new(&programs, &server, &issuer, "api", SECRET)?;
    let mut agent = account
        .step("The agent proves itself with the pod's token and writes files", |seen| deliver(&api, running, &first, seen))?;
    account.step("The admin changes the password, and the file follows", |seen| follow(&people, &api, &mut agent, seen))?;
    let web = Workload::new(&programs, &server, &issuer, "web", SECRET)?;
    account.step("Another service account is refused, and `why` explains it", |seen| refuse(&people, &web, seen))?;
    account.step("The audit log is verified offline; a changed copy is not", |seen| verify(&people, &server, seen))?;

    let end = (agent, api, web);
    if keep {
        drop(end);
        account.end(begin, "The server is up.");
        return leave(&programs, server, people);
    }
    account.step("Everything is taken away", |seen| take_away(end, server, people, seen))?;
    account.end(begin, "No process and no file is left.");
    Ok(())
}

/// The operators.
struct People {
    admin: Person,
    officer: Person,
    auditor: Person,
}

/// What init yields.
struct Fruits {
    bootstrap: String,
}

fn start(server: &mut Server, running: &Running, seen: &mut Seen) -> Result<()> {
    server.start()?;
    running.add(server.process()?.id());
    seen.line(format!("{}, and {} on this machine", server.url()?, path(&server.socket())?));
    Ok(())
}

fn open(programs: &Programs, server: &Server, seen: &mut Seen) -> Result<Fruits> {
    let local = coffer_tests::command::Coffer::new(programs)?;
    let socket = server.socket_url();
    let fruits =
        json(&local.ok(["--address", &socket, "operator", "init", "--shares", "3", "--threshold", "2", "--output", "json"])?)?;
    let shares = fruits.get("shares").and_then(|shares| shares.as_array()).context("init yields shares")?;
    for share in shares.iter().take(2) {
        local.ok_with(["--address", &socket, "operator", "unseal", "-"], share.as_str().context("a share is text")?)?;
    }
    local.ok(["--address", &socket, "status"])?;
    seen.line(format!("vault {}", text(&fruits, "vault_id")?));
    Ok(Fruits { bootstrap: text(&fruits, "bootstrap_credential")?.to_owned() })
}

fn let_in(programs: &Programs, server: &Server, fruits: &Fruits) -> Result<People> {
    let first = Person::new("bootstrap", programs, server)?;
    first.coffer.ok_with(["login", "--method", "bootstrap", "--credential-file", "-"], &fruits.bootstrap)?;
    let person = |name, role| {
        let person = Person::new(name, programs, server)?;
        first.coffer.ok_with(["user", "create", name, "--role", role, "--password-file", "-"], &person.password)?;
        person.log_in()?;
        anyhow::Ok(person)
    };
    Ok(People { admin: person("ada", "admin")?, officer: person("olga", "officer")?, auditor: person("otto", "auditor")? })
}

fn fill(people: &People, issuer: &Issuer, password: &str, seen: &mut Seen) -> Result<()> {
    let admin = &people.admin.coffer;
    let jwks = issuer.jwks().to_string();
    admin.ok_with(["cluster", "create", "local", "--issuer", issuer.url(), "--jwks", "-"], &jwks)?;
    admin.ok_with(["kv", "put", SECRET, "user=shop", "password=-"], password)?;
    seen.line(format!("coffer kv put {SECRET} user=shop password"));
    let read = admin.run(["kv", "get", SECRET])?;
    ensure!(read.code == 3 && !read.stdout.contains(password), "an admin could read what only workloads are granted");
    seen.line("who writes it cannot read it: coffer kv get is denied");
    Ok(())
}

fn deliver(api: &Workload, running: &Running, password: &str, seen: &mut Seen) -> Result<Process> {
    let mut agent = api.start(&["sidecar"])?;
    running.add(agent.id());
    let file = api.file("password");
    await_file(&mut agent, &file, password)?;
    let metadata = fs::metadata(&file)?;
    ensure!(memory::is_tmpfs(&file)?, "the file is not in memory");
    ensure!(metadata.permissions().mode() & 0o777 == 0o400, "the file's mode is {:o}", metadata.permissions().mode());
    seen.line(format!("{}: tmpfs, mode 0400, user {}", path(&file)?, metadata.uid()));
    let env = fs::read_to_string(api.file("database.env"))?;
    ensure!(env.contains("shop") && env.contains(password), "the dotenv file is not what was asked for");
    Ok(agent)
}

fn follow(people: &People, api: &Workload, agent: &mut Process, seen: &mut Seen) -> Result<()> {
    let second = uuid()?;
    people.admin.coffer.ok_with(["kv", "patch", SECRET, "password=-"], &second)?;
    let written = Instant::now();
    await_file(agent, &api.file("password"), &second)?;
    seen.line(format!("new within {} of the command's end", seconds(written.elapsed())));
    Ok(())
}

fn refuse(people: &People, web: &Workload, seen: &mut Seen) -> Result<()> {
    let mut agent = web.start(&["init", "--deadline", "5s"])?;
    let ended = agent.wait(PATIENCE)?;
    ensure!(ended.code() == Some(4), "the agent ended with {ended}, not with 4 (refused): {}", agent.log()?);
    ensure!(!web.file("password").exists(), "a file was written without a grant");
    let why = people.officer.coffer.run(["why", "k8s:local/shop/web", "read", SECRET])?;
    ensure!(why.code == 3, "why ended with {}: {}", why.code, why.stderr);
    for line in why.stdout.lines().filter(|line| !line.is_empty()).take(2) {
        seen.line(line);
    }
    Ok(())
}

fn verify(people: &People, server: &Server, seen: &mut Seen) -> Result<()> {
    let auditor = &people.auditor.coffer;
    let key = auditor.ok(["audit", "key"])?;
    let copy = memory::folder()?;
    let log = copy.path().join("audit");
    copy_folder(&server.audit(), &log)?;
    let verified = auditor.ok(["audit", "verify", path(&log)?, "--key", key.trim()])?;
    seen.line(verified.lines().next().unwrap_or_default());
    change_one_byte(&log)?;
    let changed = auditor.run(["audit", "verify", path(&log)?, "--key", key.trim()])?;
    ensure!(changed.code == 7, "a changed log was taken for a good one: {}{}", changed.stdout, changed.stderr);
    Ok(())
}

fn take_away(end: (Process, Workload, Workload), mut server: Server, people: People, seen: &mut Seen) -> Result<()> {
    let (mut agent, api, web) = end;
    let (agent_id, server_id, folder) = (agent.id(), server.process()?.id(), server.folder().to_owned());
    let files = api.file("password");
    agent.terminate()?;
    server.terminate()?;
    drop((agent, api, web, server, people));
    for id in [agent_id, server_id] {
        ensure!(!Path::new("/proc").join(id.to_string()).exists(), "process {id} is still there");
    }
    ensure!(!folder.exists() && !files.exists(), "files are left in {}", folder.display());
    seen.line("agent and server ended when asked; store, log and files are removed");
    Ok(())
}

/// Leaves the server up and says how to talk to it.
fn leave(programs: &Programs, mut server: Server, people: People) -> Result<()> {
    let (url, id, ca) = (server.url()?, server.process()?.id(), server.ca());
    let folder = server.leave();
    say("");
    say(&format!("  export PATH={}:$PATH", path(programs.folder())?));
    say(&format!("  coffer context set demo --address {url} --ca {}", path(&ca)?));
    for (person, what) in [(&people.admin, "status; kv put"), (&people.officer, "grants; why"), (&people.auditor, "audit tail")] {
        say(&format!("  coffer login {:<5} # password {}; then for example: coffer {what}", person.name, person.password));
    }
    say(&format!("\nTo end it: kill {id}; rm -r {}", path(&folder)?));
    Ok(())
}

/// Waits until the file has this content; fails at once where the agent ends.
fn await_file(agent: &mut Process, file: &Path, content: &str) -> Result<()> {
    wait::until(PATIENCE, "the file to be written", || {
        if let Some(status) = agent.ended()? {
            anyhow::bail!("the agent ended with {status}: {}", agent.log()?);
        }
        Ok(fs::read_to_string(file).is_ok_and(|found| found == content).then_some(()))
    })
    .with_context(|| agent.log().unwrap_or_default())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Changes a byte in the middle of the log's largest file.
fn change_one_byte(log: &Path) -> Result<()> {
    let (_, file) = files(log)?.into_iter().max().context("an audit log has files")?;
    let mut bytes = fs::read(&file)?;
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    Ok(fs::write(&file, bytes)?)
}

/// The files below a folder, with their sizes.
fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push((entry.metadata()?.len(), entry.path()));
        }
    }
    Ok(found)
}
