//! `coffer run`: a program with secrets in files.

use std::{
    ffi::OsString,
    future::pending,
    io::{self, ErrorKind},
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitStatus},
    time::Duration,
};

use clap::Args;
use coffer_client::Secret;
use coffer_secret::SecretBytes;
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

mod follow;
mod on_change;

use follow::{Secrets, follow, read};
use on_change::OnChange;

/// The variable that tells the program where its files are.
const FILES_VARIABLE: &str = "COFFER_FILES";
/// Files for one program, at most.
const FILES_MAX: usize = 128;
/// Bytes in a file's name, at most.
const NAME_BYTES_MAX: usize = 255;
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
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer run --file db=kv/prod/payments#password -- psql 'passfile={db}'
  coffer run --file db.json=kv/prod/payments -- ./server --config-dir /etc/server   all fields, as JSON
  coffer run --file key=kv/prod/tls#key --file cert=kv/prod/tls#cert -- sh -c 'ls $COFFER_FILES'
  coffer run --watch --file db=kv/prod/payments#password -- ./server --password-file {db}
  coffer run --watch --on-change signal=HUP --file htpasswd=kv/prod/web#htpasswd -- nginx -g 'daemon off;'")]
pub(crate) struct Run {
    /// A file and the secret in it: with #FIELD that field's bytes, without it all fields as a JSON object
    #[arg(short, long = "file", value_name = "NAME=PATH[#FIELD]", required = true, add = crate::complete::files())]
    files: Vec<String>,
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

/// A file that is wanted.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    name: String,
    path: String,
    field: Option<String>,
}

impl Run {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let wanted = wanted(&self.files)?;
        let vault = app.vault()?;
        let secrets = read(&vault, wanted.iter().map(|file| file.path.as_str())).await?;
        let versions = secrets.iter().map(|(path, secret)| (path.clone(), secret.version)).collect();
        // Before anything is written: what ends this command from now on ends the program.
        let mut signals = Forwarded::new()?;
        let running = Running { wanted, folder: MemoryFolder::new(app, "run")?, program: self.program };
        running.write(&secrets)?;
        drop(secrets);
        let mut child = running.start()?;
        let (changed, mut changes) = mpsc::channel(1);
        let followed = async {
            if self.watch {
                follow(app, versions, changed).await;
            }
            pending::<()>().await;
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
            match self.on_change {
                OnChange::Nothing => {}
                OnChange::Signal(signal) => child.signal(signal),
                OnChange::Restart => {
                    child.signal(Signal::TERM);
                    if timeout(STOP_PATIENCE, child.wait()).await.is_err() {
                        child.signal(Signal::KILL);
                        drop(child.wait().await);
                    }
                    child = running.start()?;
                }
            }
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

/// The files asked for, each name once.
fn wanted(files: &[String]) -> Result<Vec<Wanted>> {
    if files.len() > FILES_MAX {
        return Err(Failure::usage(format!("{} files; at most {FILES_MAX}", files.len())));
    }
    let mut all: Vec<Wanted> = Vec::with_capacity(files.len());
    for text in files {
        let wrong = || {
            Failure::usage(format!("'{text}' names no file and secret")).next("write --file NAME=PATH or --file NAME=PATH#FIELD")
        };
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (path, field) = match rest.rsplit_once('#') {
            Some((path, "")) => (path, None),
            Some((path, field)) => (path, Some(field.to_owned())),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(wrong());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') || !name.chars().all(plain) {
            return Err(Failure::usage(format!("'{name}' is no name for a file"))
                .why(format!("a name is 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . - _ and does not begin with a dot")));
        }
        if all.iter().any(|known| known.name == name) {
            return Err(Failure::usage(format!("the file {name} is given twice")));
        }
        all.push(Wanted { name: name.to_owned(), path: path.to_owned(), field });
    }
    Ok(all)
}

/// What a file holds.
fn content(file: &Wanted, secret: &Secret) -> Result<SecretBytes> {
    match &file.field {
        Some(field) => match secret.field(field) {
            Some(value) => Ok(value.duplicate()),
            None => Err(super::kv::no_field(&file.path, field, secret)),
        },
        None => {
            let fields: Vec<_> = secret.fields.iter().map(|(name, value)| (name.clone(), value.duplicate())).collect();
            let text = crate::document::written(&fields, crate::document::Form::Json, "")?;
            Ok(SecretBytes::copied_from(text.expose().as_bytes()))
        }
    }
}

/// The argument with `{NAME}` replaced, for each name of a file. Other braces stay as they are.
fn filled(argument: &OsString, wanted: &[Wanted], folder: &str) -> OsString {
    let Some(text) = argument.to_str() else { return argument.clone() };
    let mut text = text.to_owned();
    for file in wanted {
        text = text.replace(&format!("{{{}}}", file.name), &format!("{folder}/{}", file.name));
    }
    text.into()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_name_a_secret_and_perhaps_a_field() {
        let one = |text: &str| wanted(&[text.to_owned()]).map(|mut all| all.remove(0));
        let file = |name: &str, path: &str, field: Option<&str>| Wanted {
            name: name.into(),
            path: path.into(),
            field: field.map(str::to_owned),
        };
        assert_eq!(one("db=kv/prod/db#password").unwrap(), file("db", "kv/prod/db", Some("password")));
        assert_eq!(one("db.json=kv/prod/db").unwrap(), file("db.json", "kv/prod/db", None));
        assert_eq!(one("a=kv/x#y#").unwrap(), file("a", "kv/x#y", None));
        for bad in ["kv/prod/db", "=kv/x", "../a=kv/x", "a/b=kv/x", ".lock=kv/x", "a=", "a=#f", "a b=kv/x"] {
            assert!(one(bad).is_err(), "{bad}");
        }
        assert!(wanted(&["a=kv/x".into(), "a=kv/y".into()]).is_err());
        let many = |count: usize| (0..count).map(|number| format!("f{number}=kv/x")).collect::<Vec<_>>();
        assert!(wanted(&many(FILES_MAX)).is_ok() && wanted(&many(FILES_MAX + 1)).is_err());
    }

    #[test]
    fn braces_stand_for_files_that_are_named_and_for_nothing_else() {
        let files = wanted(&["db=kv/x".into(), "a.json=kv/y".into()]).unwrap();
        let fill = |text: &str| filled(&OsString::from(text), &files, "/m");
        assert_eq!(fill("file={db},{a.json}"), "file=/m/db,/m/a.json");
        assert_eq!(fill(r#"{"db": {}, "x": {c}}"#), r#"{"db": {}, "x": {c}}"#);
    }
}
