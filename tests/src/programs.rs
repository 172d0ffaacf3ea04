//! The programs under test.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow, ensure};

/// What cargo sets in the environment of a program or a test that it runs.
const OF_A_PACKAGE: [&str; 5] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];

/// Where the programs are: built by [`Programs::built`], or named by `COFFER_TEST_BINARIES`.
#[derive(Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// The programs, up to date with the sources: cargo builds them the first time that a process asks, unless
    /// `COFFER_TEST_BINARIES` names the folder of programs built already.
    ///
    /// # Errors
    /// Where they do not build.
    pub fn built() -> Result<&'static Self> {
        static PROGRAMS: OnceLock<Result<Programs, String>> = OnceLock::new();
        let found = PROGRAMS.get_or_init(|| Self::build(Stdio::null).map_err(|error| format!("{error:#}")));
        found.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// As [`Programs::built`], and cargo shows on stderr how it goes on.
    ///
    /// # Errors
    /// Where they do not build.
    pub fn built_in_sight() -> Result<Self> {
        Self::build(Stdio::inherit)
    }

    fn build(progress: fn() -> Stdio) -> Result<Self> {
        if let Some(folder) = env::var_os("COFFER_TEST_BINARIES") {
            return Ok(Self { folder: folder.into() });
        }
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // What cargo told this program about its own package would have it build ring, and all above, once more.
        for (name, _) in env::vars_os() {
            if OF_A_PACKAGE.iter().any(|start| name.to_string_lossy().starts_with(start)) {
                cargo.env_remove(name);
            }
        }
        let built = cargo
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .args([
                "build",
                "--locked",
                "--package",
                "coffer-server",
                "--package",
                "coffer-agent",
                "--package",
                "coffer-injector",
                "--package",
                "coffer-node",
                "--package",
                "coffer-cli",
            ])
            .stdin(Stdio::null())
            .stderr(progress())
            .status()
            .context("cargo cannot be started")?;
        ensure!(built.success(), "the programs do not build: run cargo build to see why");
        // Beside the program that asks, or, for a test, above: target/debug/deps/NAME.
        let own = env::current_exe()?;
        let beside = own.parent().context("a program lies in a folder")?;
        let folder = if beside.ends_with("deps") { beside.parent().context("deps lies in a folder")? } else { beside };
        Ok(Self { folder: folder.to_owned() })
    }

    /// The vault server.
    #[must_use]
    pub fn server(&self) -> PathBuf {
        self.folder.join("coffer-server")
    }

    /// The agent.
    #[must_use]
    pub fn agent(&self) -> PathBuf {
        self.folder.join("coffer-agent")
    }

    /// The node agent.
    #[must_use]
    pub fn node(&self) -> PathBuf {
        self.folder.join("coffer-node")
    }

    /// The command line.
    #[must_use]
    pub fn coffer(&self) -> PathBuf {
        self.folder.join("coffer")
    }

    /// The injector.
    #[must_use]
    pub fn injector(&self) -> PathBuf {
        self.folder.join("coffer-injector")
    }

    /// The folder that the programs lie in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
