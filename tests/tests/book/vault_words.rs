//! What docs/from-vault.md says that the command has, it has.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{command::Coffer, programs::Programs};

use super::read;

/// Options of every command, which only `coffer --help` lists.
const GLOBAL: [&str; 3] = ["--output", "--tenant", "--address"];

/// A cell's commands: what begins with `coffer` in backticks.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|code| code.split(' ').next().is_some_and(|word| word.starts_with("coffer")))
}

#[test]
fn every_command_for_who_comes_from_vault_is_there_with_its_options() -> Result<()> {
    let programs = Programs::built()?;
    let (page, coffer, mut seen) = (read("docs/from-vault.md")?, Coffer::new(programs)?, 0);
    // Code that goes over a line's end would be missed.
    for line in page.lines().filter(|line| !line.starts_with("```")) {
        ensure!(line.matches('`').count() % 2 == 0, "code ends on its line: {line}");
        for command in commands(line) {
            let words: Vec<_> = command.split(' ').collect();
            let (program, words) = words.split_first().context("a command has a name")?;
            let is_name = |word: &&&str| !word.starts_with('-') && word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            // What grants is written before the path.
            let name: Vec<_> = words.iter().take_while(is_name).filter(|word| **word != "read").collect();
            let options = words.iter().take_while(|word| **word != "--").filter(|word| word.starts_with("--"));
            let help = match *program {
                "coffer" if name.as_slice() == [&"help", &"vault"] => continue,
                "coffer" => coffer.ok(name.iter().map(|word| **word).chain(["--help"]))?,
                program => {
                    let output = Command::new(programs.folder().join(program)).args(name).arg("--help").output()?;
                    ensure!(output.status.success(), "{command}: there is no such command");
                    String::from_utf8(output.stdout)?
                }
            };
            ensure!(help.contains("Usage:"), "{command}: there is no such command");
            for option in options {
                let known = help.split([' ', '\n', ',', '[', '=']).any(|word| word == *option) || GLOBAL.contains(option);
                ensure!(known, "{command}: there is no {option}");
            }
            seen += 1;
        }
    }
    ensure!(seen > 60, "{seen} commands: that is not the page");
    Ok(())
}
