//! `coffer completion` and `coffer man`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{
    app::App,
    args, complete,
    exit::Exit,
    failure::{Failure, Result},
    reference,
};

/// The shells that can complete commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// Print a script that completes commands and names in your shell
///
/// The shell then asks this program while you type: for commands and options, and for paths, contexts, users, clusters and
/// policies as far as you are logged in and may list them. The vault has a second to answer; where it does not, or you
/// are not logged in, nothing is completed, and nothing is said.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer completion bash > ~/.local/share/bash-completion/completions/coffer
  coffer completion zsh > ~/.zfunc/_coffer
  coffer completion fish > ~/.config/fish/completions/coffer.fish")]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(self, app: &App) -> Result<Exit> {
        let shell = match self.shell {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
        };
        let script = complete::script(shell)
            .map_err(|error| Failure::new(Exit::Failed, format!("the script cannot be written: {error}")))?;
        app.out.raw(&script)?;
        Ok(Exit::Done)
    }
}

/// Write the manual pages
///
/// One page a command: coffer.1, coffer-kv.1, coffer-kv-put.1 and so on. Without a folder, coffer.1 is printed.
#[derive(Args)]
pub(crate) struct Man {
    /// The folder to write to, such as ~/.local/share/man/man1
    folder: Option<PathBuf>,
    /// Print the whole reference as Markdown instead
    #[arg(long, conflicts_with = "folder")]
    markdown: bool,
    /// Print all checks of `coffer scan` as Markdown instead
    #[arg(long, conflicts_with_all = ["folder", "markdown"])]
    checks: bool,
}

impl Man {
    pub(crate) fn run(self, app: &App) -> Result<Exit> {
        if self.markdown {
            app.out.text(&reference::markdown())?;
            return Ok(Exit::Done);
        }
        if self.checks {
            app.out.text(&reference::checks())?;
            return Ok(Exit::Done);
        }
        let Some(folder) = self.folder else {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(args::command()).render(&mut page);
            rendered.map_err(|error| Failure::new(Exit::Failed, format!("the page cannot be written: {error}")))?;
            app.out.raw(&page)?;
            return Ok(Exit::Done);
        };
        std::fs::create_dir_all(&folder).map_err(|error| Failure::file("make", &folder, &error))?;
        clap_mangen::generate_to(args::command(), &folder).map_err(|error| Failure::file("write to", &folder, &error))?;
        let json = serde_json::json!({ "folder": folder });
        app.out.result(&json, |_| format!("Manual pages written to {}.", folder.display()))?;
        Ok(Exit::Done)
    }
}
