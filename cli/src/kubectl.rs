//! `kubectl`, run in the person's place: with their own configuration, their login, and their rights.

use std::{
    io,
    os::fd::OwnedFd,
    process::{Command, Stdio},
    time::Duration,
};

use serde::de::DeserializeOwned;
use tokio::net::unix::pipe::Receiver;

use crate::{child::Child, failure::plain, output::one_line};

/// How long one answer may take, a login of kubectl's own included.
const KUBECTL_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer: some six thousand pods.
const KUBECTL_BYTES_MAX: usize = 64 << 20;
/// Bytes of a complaint that are kept; the rest is read and forgotten.
const COMPLAINT_BYTES_MAX: usize = 16 << 10;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// kubectl, for one cluster.
pub(crate) struct Kubectl {
    context: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no such program.
    Missing,
    /// The API server says that the person may not.
    Forbidden(String),
    /// There is no such object, or no such kind of objects.
    NotFound,
    /// Anything else.
    Failed(String),
}

impl Refused {
    /// What kubectl complained of.
    fn of(complaint: &str) -> Self {
        let mut lines = complaint.lines().map(str::trim);
        let last =
            lines.clone().rfind(|line| line.starts_with("Error") || line.starts_with("error")).or_else(|| lines.next_back());
        let last = last.unwrap_or_default();
        let last = one_line(last.strip_prefix("error: ").unwrap_or(last));
        if complaint.contains("(Forbidden)") {
            Self::Forbidden(last)
        } else if complaint.contains("(NotFound)") || complaint.contains("the server doesn't have a resource type") {
            Self::NotFound
        } else {
            Self::Failed(last)
        }
    }
}

impl Kubectl {
    pub(crate) const fn new(context: Option<String>) -> Self {
        Self { context }
    }

    /// What kubectl prints, as JSON of this kind.
    pub(crate) async fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T, Refused> {
        let printed = self.run(&[arguments, &["--output=json"]].concat()).await?;
        serde_json::from_slice(&printed).map_err(|error| Refused::Failed(format!("its answer cannot be read: {error}")))
    }

    /// What kubectl prints, as text.
    pub(crate) async fn text(&self, arguments: &[&str]) -> Result<String, Refused> {
        self.run(arguments).await.map(|printed| String::from_utf8_lossy(&printed).into_owned())
    }

    async fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, Refused> {
        let mut command = Command::new("kubectl");
        command.args(arguments);
        if let Some(context) = &self.context {
            command.arg(format!("--context={context}"));
        }
        answer(command, KUBECTL_TIMEOUT, KUBECTL_BYTES_MAX).await
    }
}

/// What a program prints, within a time and a size. It is killed where it takes more.
async fn answer(mut command: Command, time_max: Duration, bytes_max: usize) -> Result<Vec<u8>, Refused> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Refused::Missing,
        _ => Refused::Failed(plain(&error)),
    };
    let (out, out_end) = io::pipe().map_err(failed)?;
    let (complaints, complaints_end) = io::pipe().map_err(failed)?;
    command.stdin(Stdio::null()).stdout(out_end).stderr(complaints_end);
    let mut child = Child::start(&mut command).map_err(failed)?;
    // Its ends of the pipes are in there: without this nobody would hear of its end.
    drop(command);
    let all = async {
        let (printed, complaint) =
            tokio::try_join!(read(out.into(), Some(bytes_max)), read(complaints.into(), None)).map_err(failed)?;
        let Some(printed) = printed else {
            return Err(Refused::Failed(format!("it answers with more than {bytes_max} bytes: say --namespace")));
        };
        let status = child.wait().await.map_err(failed)?;
        match status.success() {
            true => Ok(printed),
            false => Err(Refused::of(&String::from_utf8_lossy(&complaint.unwrap_or_default()))),
        }
    };
    let late = || Refused::Failed(format!("no answer within {} s", time_max.as_secs()));
    tokio::time::timeout(time_max, all).await.unwrap_or_else(|_| Err(late()))
}

/// Reads to the end; nothing where there is more than may be. Without a size the first part is kept.
async fn read(pipe: OwnedFd, bytes_max: Option<usize>) -> io::Result<Option<Vec<u8>>> {
    let pipe = Receiver::from_owned_fd(pipe)?;
    let (mut all, mut chunk) = (Vec::new(), vec![0; CHUNK_BYTES]);
    loop {
        pipe.readable().await?;
        let read = match pipe.try_read(&mut chunk) {
            Ok(0) => return Ok(Some(all)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let new = chunk.get(..read).unwrap_or_default();
        match bytes_max {
            Some(bytes_max) if all.len() + read > bytes_max => return Ok(None),
            Some(_) => all.extend_from_slice(new),
            None => all.extend(new.iter().take(COMPLAINT_BYTES_MAX.saturating_sub(all.len()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, time_max: Duration, bytes_max: usize) -> Result<Vec<u8>, Refused> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        answer(command, time_max, bytes_max).await
    }

    #[tokio::test]
    async fn an_answer_is_taken_up_to_its_size_and_time() {
        let long = Duration::from_secs(60);
        assert_eq!(shell("printf abc; echo no >&2", long, 3).await, Ok(b"abc".to_vec()));
        let Err(Refused::Failed(why)) = shell("printf abcd", long, 3).await else { unreachable!("it is too long") };
        assert!(why.contains("more than 3 bytes"), "{why}");
        // Whoever goes on for ever is stopped: by size, by time.
        assert!(shell("yes", long, 1 << 20).await.is_err());
        let Err(Refused::Failed(why)) = shell("exec sleep 1000", Duration::from_millis(50), 3).await else {
            unreachable!("it is late")
        };
        assert!(why.contains("no answer"), "{why}");
        assert_eq!(answer(Command::new("/nowhere/kubectl"), long, 3).await, Err(Refused::Missing));
    }

    #[tokio::test]
    async fn complaints_are_told_apart() {
        let long = Duration::from_secs(60);
        let forbidden = "Error from server (Forbidden): pods is forbidden: User \"eve\" cannot list resource \"pods\"";
        let script = format!("echo 'W1129 noise' >&2; echo '{forbidden}' >&2; exit 1");
        assert_eq!(shell(&script, long, 3).await, Err(Refused::Forbidden(forbidden.to_owned())));
        assert_eq!(Refused::of("Error from server (NotFound): secrets \"x\" not found"), Refused::NotFound);
        let kind = "error: the server doesn't have a resource type \"validatingadmissionpolicies\"";
        assert_eq!(Refused::of(kind), Refused::NotFound);
        assert_eq!(Refused::of("error: no context exists\u{7}\n"), Refused::Failed(one_line("no context exists\u{7}")));
        // One that never ends its complaint is heard to the end, and the first of it kept.
        let Err(Refused::Failed(why)) = shell("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1", long, 3).await else {
            unreachable!("it failed")
        };
        assert_eq!(why.len(), COMPLAINT_BYTES_MAX);
    }
}
