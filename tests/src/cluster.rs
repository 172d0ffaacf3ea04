//! The Kubernetes that `tests/run` starts.

mod images;
pub mod tokens;

use std::{
    env,
    ffi::OsStr,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use self::tokens::Tokens;
use crate::{
    leaks::{Canaries, Search},
    programs::Programs,
};

/// What `examples/` calls the registry; the test cluster's nodes find their own behind that name.
pub const REGISTRY: &str = "registry.coffer.dev";

/// What has kubectl run commands in pods over SPDY: over web sockets it now and then loses what a command says first ("Unknown stream id").
pub const KUBECTL_EXEC: (&str, &str) = ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false");

/// A Kubernetes that is up.
#[derive(Debug, Clone)]
pub struct Cluster {
    scripts: PathBuf,
    kubeconfig: PathBuf,
}

impl Cluster {
    /// The cluster of this test run.
    ///
    /// # Errors
    /// Where there is none: `tests/run` names it in `COFFER_TEST_CLUSTER` and `COFFER_TEST_KUBECONFIG`.
    pub fn of_this_run() -> Result<Self> {
        let named = |name| env::var_os(name).with_context(|| format!("{name} is not set: run tests/run"));
        Ok(Self { scripts: named("COFFER_TEST_CLUSTER")?.into(), kubeconfig: named("COFFER_TEST_KUBECONFIG")?.into() })
    }

    /// A cluster of a test's own, which it may do anything to: started for it, and taken away with [`Cluster::down`].
    ///
    /// # Errors
    /// As [`Cluster::of_this_run`], and where it does not start.
    pub fn start(number: u8) -> Result<Self> {
        let scripts: PathBuf =
            env::var_os("COFFER_TEST_CLUSTER").context("COFFER_TEST_CLUSTER is not set: run tests/run")?.into();
        let started = Command::new(scripts.join("up")).env("CLUSTER", number.to_string()).stdin(Stdio::null()).output()?;
        ensure!(started.status.success(), "no cluster: {}", String::from_utf8_lossy(&started.stderr));
        Ok(Self { scripts, kubeconfig: String::from_utf8(started.stdout)?.trim().into() })
    }

    /// Stops it, and takes away all that it left.
    ///
    /// # Errors
    /// Where that fails.
    pub fn down(&self) -> Result<()> {
        self.script("down", [] as [&str; 0]).map(drop)
    }

    /// Kills parts of it, or starts them again: `stop` or `start`, and their names.
    ///
    /// # Errors
    /// Where there is no such part.
    pub fn part(&self, arguments: &[&str]) -> Result<()> {
        self.script("part", arguments).map(drop)
    }

    /// The kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The network of the cluster's first node, as `ip netns` keeps it.
    ///
    /// # Errors
    /// Where the kubeconfig is in no folder.
    pub fn network(&self) -> Result<PathBuf> {
        Ok(Path::new("/run/netns").join(format!("coffer-{}", self.number()?.display())))
    }

    /// Runs kubectl, which must succeed, and gives what it printed.
    ///
    /// # Errors
    /// Where it fails: the message holds what it complained of.
    pub fn kubectl(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        let output = self.try_kubectl(arguments)?;
        ensure!(output.status.success(), "kubectl failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs kubectl, whatever comes of it.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn try_kubectl(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Output> {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", &self.kubeconfig).envs([KUBECTL_EXEC]).args(arguments).stdin(Stdio::null());
        command.output().context("kubectl cannot be started: is tests/cluster built?")
    }

    /// Runs kubectl with input, which is where secrets belong: arguments are seen by everybody. It must succeed.
    ///
    /// # Errors
    /// Where it fails: the message holds what it complained of.
    pub fn kubectl_with(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>, input: &str) -> Result<String> {
        let mut child = Command::new("kubectl")
            .env("KUBECONFIG", &self.kubeconfig)
            .envs([KUBECTL_EXEC])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl cannot be started: is tests/cluster built?")?;
        child.stdin.take().context("there is a pipe")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "kubectl failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs Helm in the namespace coffer, which must succeed, and gives what it printed.
    ///
    /// # Errors
    /// Where it fails: the message holds what it complained of.
    pub fn helm(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        let mut helm = Command::new("helm");
        helm.env("KUBECONFIG", &self.kubeconfig).args(["--namespace", "coffer"]).args(arguments).stdin(Stdio::null());
        let output = helm.output().context("helm cannot be started: is tests/cluster built?")?;
        ensure!(output.status.success(), "{helm:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// Where Kubernetes refuses it.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        self.kubectl_with(["apply", "-f", "-"], manifest).map(drop)
    }

    /// The folder of all that the cluster keeps on this machine: logs, etcd's data, images, volumes, and the nodes' disks.
    /// What is mounted on a node (a pod's tmpfs, for one) is not seen there.
    ///
    /// # Errors
    /// Where the kubeconfig is in no folder.
    pub fn folder(&self) -> Result<&Path> {
        self.kubeconfig.parent().context("a cluster has a folder")
    }

    /// Every object of every kind, as JSON.
    ///
    /// # Errors
    /// Where kubectl fails.
    pub fn every_object(&self) -> Result<String> {
        let kinds = self.kubectl(["api-resources", "--verbs=list", "--output=name"])?;
        self.kubectl(["get", &kinds.split_whitespace().collect::<Vec<_>>().join(","), "--all-namespaces", "--output=json"])
    }

    /// Notes each service-account token that the API server has issued: to the kubelet, for a pod, or to whoever asked.
    ///
    /// # Errors
    /// Where its log of requests cannot be read.
    pub fn note_tokens(&self, canaries: &Canaries) -> Result<()> {
        tokens::note_issued(&self.requests()?, canaries)
    }

    /// Searches all that Kubernetes knows or has kept: objects, the API server's log of requests, etcd's data, the nodes' disks
    /// with the volumes and images, the logs of pods; and arguments and environment of all processes of this machine, which
    /// are the pods' as well. A ConfigMap is planted, which has to be found in most of them. Tokens may be in that log where
    /// [`tokens`] says: gives how many there were.
    ///
    /// # Errors
    /// Where something cannot be read, or what was planted is not found.
    pub fn search(&self, search: &mut Search, canaries: &Canaries) -> Result<Tokens> {
        let planted = format!("--from-literal=control={}", search.control());
        self.kubectl(["--namespace", "default", "create", "configmap", "control-of-a-search", &planted])?;
        let searched = self.search_planted(search, canaries);
        self.kubectl(["--namespace", "default", "delete", "configmap", "control-of-a-search"])?;
        searched
    }

    /// The API server's log of requests.
    fn requests(&self) -> Result<PathBuf> {
        Ok(self.folder()?.join("log/audit.jsonl"))
    }

    fn search_planted(&self, search: &mut Search, canaries: &Canaries) -> Result<Tokens> {
        const OBJECTS: &str = "the objects of Kubernetes";
        let requests = self.requests()?;
        search.text(OBJECTS, self.every_object()?)?;
        search.take_control(OBJECTS)?;
        let tokens = tokens::search(&requests, search, canaries)?;
        search.take_control(&requests.display().to_string())?;
        search.folder_without(self.folder()?, Some(&requests))?;
        search.take_control("etcd/member")?;
        for entry in fs::read_dir("/proc")? {
            if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                // This machine may have processes whose environment nobody may see; Coffer's are not among them.
                let ours = fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.contains("coffer"));
                if let Err(error) = search.process(id)
                    && ours
                {
                    return Err(error);
                }
            }
        }
        Ok(tokens)
    }

    /// Builds an image from files and pushes it: pods name it `registry.coffer.dev/NAME`.
    ///
    /// # Errors
    /// Where it does not build.
    pub fn push(&self, name: &str, containerfile: &str, files: &[&Path]) -> Result<()> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("Containerfile"), containerfile)?;
        for file in files {
            fs::copy(file, folder.path().join(file.file_name().context("a file has a name")?))
                .with_context(|| file.display().to_string())?;
        }
        self.script("push", [OsStr::new(name), folder.path().as_os_str()]).map(drop)
    }

    /// Pushes the images that `examples/` names: the agent's as it is shipped, and those of the server and the injector with the programs
    /// under test, which are no release builds. Where `COFFER_TEST_IMAGES` is set, all are as they are shipped (`tests/run --images`).
    ///
    /// # Errors
    /// Where they do not build.
    pub fn push_programs(&self, programs: &Programs) -> Result<()> {
        let output = tempfile::tempdir()?;
        if env::var_os("COFFER_TEST_IMAGES").is_some() {
            return self.push_shipped(&["server", "injector", "agent", "node"], output.path()).map(drop);
        }
        let server = "FROM 127.0.0.1:5000/busybox:1\nCOPY coffer-server coffer /bin/\nUSER 65532:65532\n\
                      ENTRYPOINT [\"/bin/coffer-server\"]\n";
        self.push("coffer-server:0.1.0", server, &[&programs.server(), &programs.coffer()])?;
        let injector = "FROM 127.0.0.1:5000/busybox:1\nCOPY coffer-injector /bin/\nUSER 65532:65532\nENTRYPOINT [\"/bin/coffer-injector\"]\n";
        self.push("coffer-injector:0.1.0", injector, &[&programs.injector()])?;
        // The node agent runs without any file beside it: linked dynamically, as it is here, it needs its libraries.
        let node = "FROM 127.0.0.1:5000/busybox:1\nCOPY coffer-node /\nUSER 65532:65532\nENTRYPOINT [\"/coffer-node\"]\n";
        self.push("coffer-node:0.1.0", node, &[&programs.node()])?;
        self.push_shipped(&["agent"], output.path()).map(drop)
    }

    /// Takes away what the chart leaves outside of namespaces where its release is not uninstalled: a webhook without a server
    /// would keep others from making pods.
    pub fn uninstall(&self) {
        let kinds = [
            "mutatingwebhookconfiguration",
            "validatingadmissionpolicybinding",
            "validatingadmissionpolicy",
            "clusterrolebinding",
            "clusterrole",
        ];
        drop(self.try_kubectl(["delete", &kinds.join(","), "coffer-injector", "coffer", "--ignore-not-found"]));
    }

    /// Runs a command on the cluster's first node, where the mounts of its pods are seen.
    ///
    /// # Errors
    /// Where the command fails.
    pub fn on_node(&self, arguments: &[&str]) -> Result<String> {
        self.script("on", [&["1"], arguments].concat())
    }

    /// The kubeconfig lies in the cluster's own folder, which ends with its number.
    fn number(&self) -> Result<&OsStr> {
        self.folder()?.file_name().context("a cluster has a folder")
    }

    fn script(&self, name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        let output =
            Command::new(self.scripts.join(name)).env("CLUSTER", self.number()?).args(arguments).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("{} cannot be started", self.scripts.join(name).display()))?;
        ensure!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
