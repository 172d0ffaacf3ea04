//! `coffer run`: a program with secrets in files.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    future::pending,
    io::{self, ErrorKind},
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitStatus},
    time::Duration,
};

use clap::Args;
use coffer_client::is_shared_credential;
use rustix::{fs::Mode, process::Signal};
use tokio::{
    signal::unix::{Signal as Signals, SignalKind, signal},
    sync::mpsc,
    time::timeout,
};

use crate::{
    app::App,
    child::Child,
    exit::Exit,
    failure::{Failure, Result},
    memory::MemoryFolder,
};

mod credentials;
mod follow;
mod on_change;
mod wanted;

use credentials::{Credentials, Parameter};
use follow::{Secrets, follow, read};
use on_change::OnChange;
use wanted::{Wanted, content, filled, wanted};

/// The variable that tells the program where its files are.
const FILES_VARIABLE: &str = "COFFER_FILES";
/// Files for one program, at most.
const FILES_MAX: usize = 128;
/// The status of a program that cannot be started, and of one that is not there: as shells have it.
const NOT_STARTED: u8 = 126;
const NOT_FOUND: u8 = 127;
/// What a shell adds to the number of the signal that ended a program.
const BY_SIGNAL: i32 = 128;
/// How long a program that is started anew may take to end; then it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Run a program with secrets in files
///
/// The secrets are read, and written into a folder in memory (tmpfs) that is yours alone: the folder has mode 0700, the
/// files 0400. The program finds the folder in COFFER_FILES; {NAME} in its arguments stands for a file's path. Values are
/// never put into the environment or into arguments, where other programs can see them.
///
/// Signals go on to the program, and its exit status is this command's. The folder is wiped and removed when the program
/// ends, also where this command is told to end. After a SIGKILL it is there until the next `coffer run` removes it.
///
/// With --watch a change of a secret is in the files within a second, each replaced as a whole. The program is then ended
/// with SIGTERM and started anew, or what --on-change says. While the vault is away, or the session has ended, the files stay
/// as they are.
///
/// With --credential one is made for the program: a user of a database, a certificate, a token. It is renewed for as long as the
/// program runs, and ended with it. Where it cannot be renewed any further --watch has another made, which counts as a change.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer run --file db=kv/prod/payments#password -- psql 'passfile={db}'
  coffer run --file db.json=kv/prod/payments -- ./server --config-dir /etc/server   all fields, as JSON
  coffer run --file key=kv/prod/tls#key --file cert=kv/prod/tls#cert -- sh -c 'ls $COFFER_FILES'
  coffer run --watch --file db=kv/prod/payments#password -- ./server --password-file {db}
  coffer run --credential pass=database/creds/app#password --credential user=database/creds/app#username -- ./report
  coffer run --watch --credential tls.crt=pki/issue/web#certificate --credential tls.key=pki/issue/web#private_key \\
      --parameter common_name=web.shop.svc -- ./server
  coffer run --watch --on-change signal=HUP --file htpasswd=kv/prod/web#htpasswd -- nginx -g 'daemon off;'")]
pub(crate) struct Run {
    /// A file and the secret in it: with #FIELD that field's bytes, without it all fields as a JSON object
    #[arg(short, long = "file", value_name = "NAME=PATH[#FIELD]", add = crate::complete::files())]
    files: Vec<String>,
    /// A file and the credential in it, MOUNT/creds/ROLE, MOUNT/static-creds/NAME or MOUNT/issue/ROLE: files of one path have the
    /// same one
    #[arg(short, long = "credential", value_name = "NAME=PATH[#FIELD]")]
    credentials: Vec<String>,
    /// What a credential is to be, as for `coffer issue`, or ttl, how long it should last; with PATH: before it where there are
    /// several
    #[arg(short, long = "parameter", value_name = "[PATH:]KEY=VALUE", requires = "credentials")]
    parameters: Vec<Parameter>,
    /// Follow the secrets: what changes in them changes in the files, and the program is started anew
    #[arg(short, long)]
    watch: bool,
    /// What a change does to the program: restart, signal=NAME (HUP, INT, QUIT, TERM, USR1, USR2) or none [default: restart]
    #[arg(long, value_name = "WHAT", requires = "watch", hide_default_value = true, default_value = "restart")]
    on_change: OnChange,
    /// The program and its arguments, after --
    #[arg(required = true, last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

impl Run {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let wanted = wanted(&self.files, &self.credentials)?;
        let credentials = Credentials::new(&wanted, self.parameters)?;
        // Before anything is made or written: what ends this command from now on ends the program.
        let mut signals = Forwarded::new()?;
        let ended = Self::follow(app, &credentials, (wanted, self.program), (self.watch, self.on_change), &mut signals).await;
        credentials.end(app, true).await;
        ended
    }

    /// Runs the program for as long as it runs.
    async fn follow(
        app: &App,
        credentials: &Credentials,
        (wanted, program): (Vec<Wanted>, Vec<OsString>),
        (watch, on_change): (bool, OnChange),
        signals: &mut Forwarded,
    ) -> Result<Exit> {
        let vault = app.vault()?;
        let secrets = read(&vault, credentials, wanted.iter().map(|file| file.path.as_str())).await?;
        let is_followed = |path: &String| !credentials.has(path) || is_shared_credential(path);
        let versions = secrets.iter().filter(|(path, _)| is_followed(path));
        let versions: BTreeMap<_, _> = versions.map(|(path, secret)| (path.clone(), secret.version)).collect();
        let running = Running { wanted, folder: MemoryFolder::new(app, "run")?, program };
        running.write(&secrets)?;
        drop(secrets);
        let mut child = running.start()?;
        credentials.acknowledge(app).await;
        let (changed, mut changes) = mpsc::channel(1);
        let followed = async {
            let secrets = async {
                if watch && !versions.is_empty() {
                    follow(app, credentials, versions, changed.clone()).await;
                }
                pending::<()>().await;
            };
            tokio::join!(secrets, credentials.keep(app, watch, &changed));
        };
        tokio::pin!(followed);
        // What has changed and is not in the files yet.
        let mut unwritten = Secrets::new();
        let status = loop {
            tokio::select! {
                status = signals.until_end_of(&mut child) => break status,
                () = &mut followed => continue,
                Some(fresh) = changes.recv() => unwritten.extend(fresh),
            }
            if let Err(failure) = running.write(&unwritten) {
                app.out.note(&format!("the files stay as they were: {}", failure.what));
                continue;
            }
            unwritten.clear();
            match on_change {
                OnChange::Nothing => {}
                OnChange::Signal(signal) => child.signal(signal),
                OnChange::Restart => {
                    child.signal(Signal::TERM);
                    if timeout(STOP_PATIENCE, child.wait()).await.is_err() {
                        child.signal(Signal::KILL);
                        drop(child.wait().await);
                    }
                    child = running.start()?;
                    // Nobody uses those any more that were replaced.
                    credentials.end(app, false).await;
                }
            }
            credentials.acknowledge(app).await;
        };
        let status = status.map_err(|error| Failure::new(Exit::Failed, format!("the program cannot be followed: {error}")))?;
        drop(running);
        Ok(Exit::Program(code(status)))
    }
}

/// A program and its files.
struct Running {
    wanted: Vec<Wanted>,
    folder: MemoryFolder,
    program: Vec<OsString>,
}

impl Running {
    /// Writes the files of these secrets: all of them are made before the first is replaced.
    fn write(&self, secrets: &Secrets) -> Result<()> {
        let of_these = self.wanted.iter().filter_map(|file| Some((file, secrets.get(&file.path)?)));
        let contents: Vec<_> = of_these.map(|(file, secret)| Ok((&file.name, content(file, secret)?))).collect::<Result<_>>()?;
        let files = contents.iter().map(|(name, content)| (name.as_str(), content.expose()));
        self.folder.replace(files, Mode::RUSR)
    }

    fn start(&self) -> Result<Child> {
        let (program, arguments) = self.program.split_first().ok_or_else(|| Failure::usage("no program is given"))?;
        let mut command = Command::new(program);
        command.env(FILES_VARIABLE, self.folder.path());
        for argument in arguments {
            command.arg(filled(argument, &self.wanted, self.folder.path().to_string_lossy().as_ref()));
        }
        Child::start(&mut command).map_err(|error| not_started(program, &error))
    }
}

fn not_started(program: &OsString, error: &io::Error) -> Box<Failure> {
    let code = if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_STARTED };
    let what = format!("cannot run {}: {}", program.to_string_lossy(), crate::failure::plain(error));
    Failure::new(Exit::Program(code), what)
        .next("write the program and its arguments after --: coffer run --file ... -- PROGRAM ARGUMENT")
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| BY_SIGNAL + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The signals that go on to the program.
struct Forwarded {
    terminate: Signals,
    interrupt: Signals,
    hangup: Signals,
    quit: Signals,
    first: Signals,
    second: Signals,
}

impl Forwarded {
    fn new() -> Result<Self> {
        let on = |kind| signal(kind).map_err(|error| Failure::new(Exit::Failed, format!("signals cannot be taken: {error}")));
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
            quit: on(SignalKind::quit())?,
            first: on(SignalKind::user_defined1())?,
            second: on(SignalKind::user_defined2())?,
        })
    }

    async fn until_end_of(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            let (signal, from_keyboard) = tokio::select! {
                status = child.wait() => return status,
                _ = self.terminate.recv() => (Signal::TERM, false),
                _ = self.hangup.recv() => (Signal::HUP, false),
                _ = self.first.recv() => (Signal::USR1, false),
                _ = self.second.recv() => (Signal::USR2, false),
                _ = self.interrupt.recv() => (Signal::INT, true),
                _ = self.quit.recv() => (Signal::QUIT, true),
            };
            // A terminal sends these to the program by itself.
            if from_keyboard && in_foreground() {
                continue;
            }
            child.signal(signal);
        }
    }
}

/// Whether a terminal's keys reach this command, and so the program too.
fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}
