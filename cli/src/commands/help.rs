//! `coffer help`: help for commands and topics.

use clap::Args;

use crate::{
    app::App,
    args,
    exit::Exit,
    failure::{Failure, Result},
    reference::{TOPICS, topic},
};

/// Show help for a command or a topic
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer help kv put
  coffer help exit-codes")]
pub(crate) struct Help {
    /// A command, or a topic: exit-codes, words, paths, environment, vault
    #[arg(value_name = "COMMAND|TOPIC")]
    about: Vec<String>,
}

impl Help {
    pub(crate) fn run(self, app: &App) -> Result<Exit> {
        if let [name] = self.about.as_slice()
            && let Some(text) = topic(name)
        {
            app.out.text(&text)?;
            return Ok(Exit::Done);
        }
        let mut command = args::command();
        let mut current = &mut command;
        for name in &self.about {
            current = current.find_subcommand_mut(name).ok_or_else(|| {
                let topics: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
                Failure::usage(format!("there is no command and no topic '{name}'"))
                    .next(format!("coffer --help lists the commands; topics are {}", topics.join(", ")))
            })?;
        }
        let text = current.render_long_help().ansi().to_string();
        app.out.text(&text)?;
        Ok(Exit::Done)
    }
}
