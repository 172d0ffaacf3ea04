//! `coffer kv edit`: fields in an editor.

use std::{
    collections::HashMap,
    path::Path,
    process::{Command, ExitStatus},
};

use clap::{Args, ValueEnum};
use coffer_client::proto::PutSecretRequest;
use coffer_secret::{SecretBytes, SecretString};
use rustix::{fs::Mode, process::Signal};
use tokio::signal::unix::SignalKind;

use super::show;
use crate::{
    app::{App, answer, part},
    child::Child,
    document::{self, Form},
    exit::Exit,
    failure::{Failure, Result},
    input::{SECRET_BYTES_MAX, Source},
    memory::MemoryFolder,
};

/// The editor where the user names none.
const EDITOR_DEFAULT: &str = "vi";

/// Change a secret's fields in your editor
///
/// The fields are put into a file in memory (tmpfs), for you alone, which is wiped afterwards; where there is no such
/// place, nothing is done. What you save is written as a new version, if nobody else has written meanwhile; what you
/// leave unchanged writes nothing. Needs permission to read and to write. Your editor may keep copies of its own
/// elsewhere: vim does not where you set `nobackup noundofile`.
#[derive(Args)]
#[command(after_help = "\
The editor is $VISUAL, else $EDITOR, else vi. A value that is no text is shown as {base64: ...}.

Examples:
  coffer kv edit kv/prod/payments
  EDITOR='code --wait' coffer kv edit kv/prod/payments --form json")]
pub(crate) struct Edit {
    /// The secret's path
    #[arg(add = crate::complete::paths())]
    path: String,
    /// How the fields are written in the file
    #[arg(long, value_enum, default_value_t = FormArgument::Yaml)]
    form: FormArgument,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormArgument {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

type Values = Vec<(String, SecretBytes)>;

impl Edit {
    pub(super) async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let attempt = vault.attempt(format!("read {}", self.path)).at("read", &self.path);
        let secret = answer(&attempt, vault.client.kv_get(&self.path, 0).await)?;
        let form = if self.form == FormArgument::Yaml { Form::Yaml } else { Form::Json };
        let before: Values = secret.fields.iter().map(|(name, value)| (name.clone(), value.duplicate())).collect();
        let text = document::written(&before, form, &format!("{}, version {}", self.path, secret.version))?;
        let Some(after) = self.edited(app, &before, text, form).await? else {
            let json = serde_json::json!({ "path": self.path, "version": secret.version, "changed": false });
            app.out.result(&json, |_| format!("{}: unchanged, nothing is written", self.path))?;
            return Ok(Exit::Done);
        };
        let attempt = vault.attempt(format!("write {}", self.path)).at("write", &self.path);
        let fields: HashMap<String, Vec<u8>> = after.into_iter().map(|(name, value)| (name, value.into_exposed())).collect();
        let request = PutSecretRequest {
            path: self.path.clone(),
            fields,
            expected_version: Some(secret.version),
            ..PutSecretRequest::default()
        };
        let written = answer(&attempt, vault.client.kv().put_secret(request).await)?.into_inner();
        let version = part(&attempt, written.version)?;
        let json = serde_json::json!({ "path": self.path, "version": version.version, "changed": true });
        app.out.result(&json, |view| show::written(&self.path, &version, view))?;
        if secret.expires.is_some() {
            app.out.note("the version before had an expiry; the new one has none: coffer kv put --ttl sets one");
        }
        Ok(Exit::Done)
    }

    /// The fields as the user leaves them; none where they are as they were.
    async fn edited(&self, app: &App, before: &Values, text: SecretString, form: Form) -> Result<Option<Values>> {
        let folder = MemoryFolder::new(app, "edit")?;
        let name = self.path.rsplit('/').next().unwrap_or_default().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let name = format!("{name}.{}", if form == Form::Yaml { "yaml" } else { "json" });
        let file = folder.write(&name, text.expose().as_bytes(), Mode::RUSR | Mode::WUSR)?;
        let mut last = text;
        loop {
            let editor = app.environment.editor.as_deref().unwrap_or(EDITOR_DEFAULT);
            let status = run(editor, &file).await?;
            if !status.success() {
                return Err(Failure::new(Exit::Failed, format!("the editor ended with {status}"))
                    .why("nothing is written")
                    .next("choose another: VISUAL=nano coffer kv edit ..."));
            }
            let text = app.input.text(&Source::File(file.clone()), 4 * SECRET_BYTES_MAX)?;
            match document::read(&text, form) {
                Ok(after) if same(before, &after) => return Ok(None),
                Ok(after) => return Ok(Some(after)),
                // Left as it was: the user gives up, or nobody edits.
                Err(wrong) if text.same(&last) => {
                    return Err(Failure::usage(wrong).why("nothing is written"));
                }
                Err(wrong) => {
                    app.out.note(&wrong);
                    let text = document::with_error(&text, form, &wrong);
                    rewrite(&file, &text)?;
                    last = text;
                }
            }
        }
    }
}

fn same(before: &Values, after: &Values) -> bool {
    let find = |name: &str| after.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    before.len() == after.len() && before.iter().all(|(name, value)| find(name).is_some_and(|found| found.same(value)))
}

/// Writes the file anew, wherever the editor has put it: some write another and rename it.
fn rewrite(file: &Path, text: &SecretString) -> Result<()> {
    std::fs::write(file, text.expose()).map_err(|error| Failure::file("write", file, &error))
}

/// Runs the editor to its end. Ctrl-C is the editor's; where this command itself shall end, so does the editor.
async fn run(editor: &str, file: &Path) -> Result<ExitStatus> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("the editor cannot be started: {error}"));
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = tokio::signal::unix::signal(SignalKind::hangup()).map_err(failed)?;
    // By the shell, as git does: an editor may have arguments. The file's name is no part of the script.
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(format!("{editor} \"$1\"")).arg("editor").arg(file);
    let mut child = Child::start(&mut command).map_err(failed)?;
    loop {
        tokio::select! {
            status = child.wait() => return status.map_err(failed),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => break,
            _ = hangup.recv() => break,
        }
    }
    child.signal(Signal::KILL);
    drop(child.wait().await);
    Err(Failure::new(Exit::Failed, "the command was told to end").why("nothing is written"))
}
