//! A shell of a page's own: its own home, network, processes and folders of the system, all gone with it.

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use coffer_tests::{
    cluster::{Cluster, KUBECTL_EXEC},
    memory,
    programs::Programs,
    wait,
};
use tempfile::TempDir;

use super::{
    page::{Page, Run, What},
    pattern,
};

/// How long a step may take on a machine that has much else to do.
const STEP_PATIENCE: Duration = Duration::from_secs(120);
/// What every prompt for something hidden ends with.
const PROMPT: &str = "(hidden): ";
/// Runs steps by their numbers. A page sees a loopback interface of its own, where port 8200 is free, and empty folders where
/// a server keeps its data. What it starts ends with this shell, which is the first process of its namespace.
const DRIVER: &str = r#"
set -e
/sbin/ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /var/lib
mount -t tmpfs -o mode=755 tmpfs /run
cd "$HOME"
trap 'echo $? > "$STEPS/status.new"; mv "$STEPS/status.new" "$STEPS/status"' EXIT
while read -r kind number; do
  file=$STEPS/$number.sh out=$STEPS/$number.out code=0
  case $kind in
    run) . "$file" >"$out" 2>&1 </dev/null ;;
    fail) set +e; (set -e; . "$file") >"$out" 2>&1 </dev/null; code=$?; set -e ;;
    type) script -qefc "bash -e $file" /dev/null <"$STEPS/$number.typed" >"$out" 2>&1 ;;
    leave) (. "$file") >"$out" 2>&1 </dev/null & ;;
  esac
  echo "$code" > "$STEPS/$number.status.new"
  mv "$STEPS/$number.status.new" "$STEPS/$number.status"
done
"#;

/// A shell for one page.
pub(crate) struct Shell {
    folder: TempDir,
    child: Child,
    /// Everything that was done, for whoever reads why it failed.
    transcript: String,
    /// What each step had printed when the page went on.
    outputs: Vec<String>,
}

impl Shell {
    /// Starts the shell.
    ///
    /// # Errors
    /// Where namespaces cannot be made.
    pub(crate) fn start(programs: &Programs) -> Result<Self> {
        let mut command = Command::new("unshare");
        command.arg("--net").env_clear();
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        Self::start_by(command, programs)
    }

    /// Starts a shell in a cluster's network, with kubectl.
    ///
    /// # Errors
    /// Where namespaces cannot be made.
    pub(crate) fn start_in(cluster: &Cluster, programs: &Programs) -> Result<Self> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", cluster.network()?.display())).arg("unshare");
        command.env_clear().env("KUBECONFIG", cluster.kubeconfig()).envs([KUBECTL_EXEC]);
        let shell = Self::start_by(command, programs)?;
        let project = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        for folder in ["charts", "examples"] {
            std::os::unix::fs::symlink(project.join(folder), shell.folder.path().join("home").join(folder))?;
        }
        Ok(shell)
    }

    fn start_by(mut command: Command, programs: &Programs) -> Result<Self> {
        let folder = memory::folder()?;
        let at = |name: &str| folder.path().join(name);
        for name in ["home", "run", "steps"] {
            fs::DirBuilder::new().mode(0o700).create(at(name))?;
        }
        let mut path = vec![programs.folder().to_owned(), "/usr/bin".into(), "/bin".into()];
        // Beside kubectl there is nothing that a page could take for something else.
        path.extend(kubectl().and_then(|kubectl| kubectl.parent().map(Path::to_owned)));
        let child = command
            .args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", DRIVER])
            .env("PATH", env::join_paths(path)?)
            .env("HOME", at("home"))
            .env("XDG_RUNTIME_DIR", at("run"))
            .env("STEPS", at("steps"))
            .envs([("SHELL", "/bin/bash"), ("LANG", "C.UTF-8"), ("TZ", "UTC"), ("NO_COLOR", "1"), ("PAGER", "")])
            .stdin(Stdio::piped())
            .stdout(File::create(at("driver"))?)
            .stderr(File::options().append(true).create(true).open(at("driver"))?)
            .spawn()
            .context("unshare cannot be started")?;
        Ok(Self { folder, child, transcript: String::new(), outputs: Vec::new() })
    }

    /// Does all that a page says.
    ///
    /// # Errors
    /// At the first step that does not go as the page says: the message has all that was done.
    pub(crate) fn follow(&mut self, page: &Page) -> Result<()> {
        for step in &page.steps {
            let done = match &step.what {
                What::File { name, text } => self.write(name, text),
                What::Run(run) => self.run(run),
            };
            done.with_context(|| format!("{}\n{}:{}", self.transcript, page.path, step.line))?;
        }
        Ok(())
    }

    /// All that was done so far, with what was printed.
    pub(crate) fn transcript(&self) -> &str {
        &self.transcript
    }

    fn write(&mut self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.path().join("home").join(name);
        fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
        self.transcript.push_str(&format!("[{name}]\n"));
        Ok(fs::write(path, text)?)
    }

    /// Runs commands and compares what they print.
    ///
    /// # Errors
    /// Where they end, or print, otherwise than shown.
    pub(crate) fn run(&mut self, run: &Run) -> Result<()> {
        let number = self.outputs.len() + 1;
        fs::write(self.step(number, "sh"), &run.commands)?;
        self.transcript.push_str(&format!("$ {}", run.commands));
        let kind = match () {
            () if run.runs_on => "leave",
            () if !run.typed.is_empty() => "type",
            () if run.exit != 0 => "fail",
            () => "run",
        };
        let typed = self.step(number, "typed");
        if kind == "type" {
            let made = Command::new("mkfifo").arg(&typed).status()?;
            ensure!(made.success(), "mkfifo ended with {made}");
        }
        writeln!(self.child.stdin.as_mut().context("there is a pipe")?, "{kind} {number}")?;
        if kind == "type" {
            self.type_in(number, &typed, &run.typed)?;
        }
        let ended = self.until_ended(number);
        let printed = self.printed_by(number);
        let shown_is_there = |printed: &str| run.output.as_ref().is_none_or(|shown| pattern::matches(shown, printed));
        let outcome = match ended {
            Ok(code) if code == run.exit && run.runs_on => {
                wait::until(STEP_PATIENCE, "what is shown", || Ok(shown_is_there(&self.printed_by(number)).then_some(())))
            }
            Ok(code) if code != run.exit => Err(anyhow::anyhow!("ended with {code}, and not with {}", run.exit)),
            Ok(_) if !shown_is_there(&printed) => {
                Err(anyhow::anyhow!("printed something else than\n{}", run.output.as_deref().unwrap_or_default()))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        let printed = self.printed_by(number);
        self.transcript.push_str(&printed);
        self.outputs.push(printed);
        outcome
    }

    fn step(&self, number: usize, what: &str) -> PathBuf {
        self.folder.path().join("steps").join(format!("{number}.{what}"))
    }

    /// What each step had printed when the page went on.
    pub(crate) fn outputs(&self) -> &[String] {
        &self.outputs
    }

    fn printed_by(&self, number: usize) -> String {
        let bytes = fs::read(self.step(number, "out")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    /// Types each line once it is asked for.
    fn type_in(&mut self, number: usize, pipe: &Path, lines: &[String]) -> Result<()> {
        // For reading too, so that opening does not wait, and closing ends nothing before the command has.
        let mut pipe = File::options().read(true).write(true).open(pipe)?;
        for (asked, line) in (1..).zip(lines) {
            let printed = self.outputs.concat();
            let line = match line.strip_prefix('{').and_then(|line| line.strip_suffix('}')) {
                Some(before) => pattern::word_after(before, &printed)
                    .with_context(|| format!("nothing has printed {before} and a word"))?
                    .to_owned(),
                None => line.clone(),
            };
            wait::until(STEP_PATIENCE, "a prompt", || {
                let over = self.step(number, "status").exists() || self.child_is_over()?;
                let prompts = self.printed_by(number).matches(PROMPT).count();
                Ok((over || prompts >= asked).then_some(()))
            })?;
            writeln!(pipe, "{line}")?;
        }
        self.until_ended(number).map(drop)
    }

    fn child_is_over(&self) -> Result<bool> {
        Ok(self.folder.path().join("steps/status").exists())
    }

    fn until_ended(&mut self, number: usize) -> Result<i32> {
        let (one, all) = (self.step(number, "status"), self.folder.path().join("steps/status"));
        wait::until(STEP_PATIENCE, "the commands to end", || {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.folder.path().join("driver")).unwrap_or_default();
                if !all.exists() {
                    bail!("the shell ended with {status}: {log}");
                }
            }
            let status = [&one, &all].into_iter().find_map(|file| fs::read_to_string(file).ok());
            status.map(|status| status.trim().parse().context("a status is a number")).transpose()
        })
    }
}

/// kubectl, where there is one in PATH: that of the cluster's version.
fn kubectl() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|kubectl| kubectl.is_file())
}

impl Drop for Shell {
    fn drop(&mut self) {
        // With the first process of their namespace all others end.
        drop(self.child.stdin.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
