//! Images: Coffer's own, as users build them, and what `examples/` names beside them, made of what is installed on this machine.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::Cluster;

/// Makes a database where there is none, and starts PostgreSQL with the arguments that it is given.
const START: &str = "#!/bin/sh
set -e
if [ ! -s \"$PGDATA/PG_VERSION\" ]; then
  initdb -D \"$PGDATA\" -U postgres --auth-local=trust --auth-host=scram-sha-256 --pwfile=\"$POSTGRES_PASSWORD_FILE\"
  echo 'host all all all scram-sha-256' >>\"$PGDATA/pg_hba.conf\"
fi
exec postgres -D \"$PGDATA\" -c listen_addresses='*' \"$@\"
";

impl Cluster {
    /// Builds images as users do, with `images/build`, and pushes them to the cluster's registry. Gives what it printed: a reference with
    /// its digest for each. The files that it writes go into `output`.
    ///
    /// # Errors
    /// Where they do not build.
    pub fn push_shipped(&self, names: &[&str], output: &Path) -> Result<Vec<String>> {
        let built = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../images/build"))
            .args(["--plain-http", "--push", &self.registry()?, "--output"])
            .arg(output)
            .args(names)
            .stdin(Stdio::null())
            .output()
            .context("images/build cannot be started")?;
        ensure!(built.status.success(), "images/build failed: {}", String::from_utf8_lossy(&built.stderr));
        Ok(String::from_utf8(built.stdout)?.lines().map(str::to_owned).collect())
    }

    /// The registry, as this machine reaches it: nodes have the same one behind other names.
    ///
    /// # Errors
    /// Where the cluster has no number.
    pub fn registry(&self) -> Result<String> {
        let number: u8 = self.number()?.to_str().and_then(|number| number.parse().ok()).context("a cluster has a number")?;
        Ok(format!("198.51.100.{}:5000", 4 * number + 2))
    }

    /// Pushes `postgres:15`: the PostgreSQL of this machine, which takes PGDATA, POSTGRES_PASSWORD_FILE and arguments as the
    /// image does that most people use.
    ///
    /// # Errors
    /// Where PostgreSQL is not installed, or the image does not build.
    pub fn push_postgres(&self) -> Result<()> {
        let programs = PathBuf::from("/usr/lib/postgresql");
        let version =
            fs::read_dir(&programs).context("PostgreSQL is not installed")?.next().context("of no version")??.file_name();
        let (home, share) = (programs.join(&version), Path::new("/usr/share/postgresql").join(&version));
        let image = tempfile::tempdir()?;
        let root = image.path().join("root");
        fs::create_dir(&root)?;
        let mut files: BTreeSet<PathBuf> =
            ["postgres", "initdb", "psql"].iter().map(|name| home.join("bin").join(name)).collect();
        for library in fs::read_dir(home.join("lib"))? {
            let library = library?.path();
            // Of the extensions, only what a new database has.
            let is_needed = ["plpgsql.so", "dict_snowball.so"].iter().any(|name| library.ends_with(name));
            if is_needed {
                files.insert(library);
            }
        }
        for file in files.clone() {
            files.extend(libraries(&file)?);
        }
        let mut copy = Command::new("cp");
        copy.args(["--recursive", "--dereference", "--parents"])
            .args(&files)
            .arg(&share)
            .arg("/usr/share/zoneinfo/UTC")
            .arg(&root);
        ensure!(copy.status()?.success(), "PostgreSQL's files cannot be copied");
        fs::create_dir_all(root.join("etc"))?;
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\npostgres:x:999:999:postgres:/:/bin/sh\n")?;
        let start = root.join("start-postgres");
        fs::write(&start, START)?;
        fs::set_permissions(&start, fs::Permissions::from_mode(0o755))?;
        let file = format!(
            "FROM 127.0.0.1:5000/busybox:1\nCOPY root /\nENV PATH={}/bin:/bin LC_ALL=C TZ=UTC\nUSER 999:999\n\
             ENTRYPOINT [\"/start-postgres\"]\n",
            home.display()
        );
        fs::write(image.path().join("Containerfile"), file)?;
        self.script("push", ["postgres:15".as_ref(), image.path().as_os_str()]).map(drop)
    }
}

/// The libraries that a program is linked with.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output()?;
    ensure!(output.status.success(), "ldd {}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(text.lines().filter_map(path).collect())
}
