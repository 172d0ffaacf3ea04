//! What a page says: its blocks, and what a test does with each.
//!
//! A fence's info string is a language and marks, with commas between: `sh`, `console,cluster`, `toml,file=server.toml`.
//! `docs/book.md` says what they mean.

use anyhow::{Context as _, Result, bail, ensure};

/// Languages of blocks that are only shown.
const SHOWN: [&str; 9] = ["text", "json", "toml", "yaml", "rust", "cedar", "html", "css", "diff"];
/// Why a block is not run: what it would need.
pub(crate) const REASONS: [&str; 3] = ["build", "cluster", "pod"];
/// The reason that does not hold in a cluster's network.
pub(crate) const CLUSTER: &str = "cluster";

/// A page in the order of reading.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its path in the repository.
    pub(crate) path: String,
    /// What is run before it.
    pub(crate) set_up: Option<String>,
    pub(crate) steps: Vec<Step>,
    /// Commands in blocks that are not run, by reason.
    pub(crate) left_out: Vec<(String, usize)>,
    /// Blocks of every kind.
    pub(crate) blocks: usize,
    /// Whether there is a cluster, for blocks that need one.
    in_cluster: bool,
}

/// Something to do.
#[derive(Debug)]
pub(crate) struct Step {
    /// The line of the page.
    pub(crate) line: usize,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// A file is written, as the page shows it.
    File { name: String, text: String },
    /// Commands are run.
    Run(Run),
}

/// Commands, and what is to come of them.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) commands: String,
    /// What they print; nothing where the page does not show it.
    pub(crate) output: Option<String>,
    /// How the last of them ends.
    pub(crate) exit: i32,
    /// What is typed where they ask for something hidden: a text, or `{TEXT}` for the word behind that text in what was printed.
    pub(crate) typed: Vec<String>,
    /// Whether they have a terminal of their own and run on, once they have printed what is shown.
    pub(crate) runs_on: bool,
}

/// The marks of a block.
#[derive(Debug, Default)]
struct Marks {
    reason: Option<String>,
    file: Option<String>,
    exit: i32,
    runs_on: bool,
}

impl Marks {
    fn parse<'a>(language: &str, words: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut marks = Self::default();
        let is_run = matches!(language, "sh" | "console");
        for word in words {
            match word.split_once('=') {
                None if is_run && REASONS.contains(&word) => marks.reason = Some(word.to_owned()),
                None if language == "console" && word == "terminal" => marks.runs_on = true,
                Some(("exit", code)) if is_run => marks.exit = code.parse().context("an exit status is a number")?,
                Some(("file", name)) if !is_run && !name.is_empty() => marks.file = Some(name.to_owned()),
                _ => bail!("no such mark of {language}: {word}"),
            }
        }
        Ok(marks)
    }
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// A block whose language or marks are not known, that has no end, or that is not at the line's beginning.
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self> {
        Self::read(path, text, false)
    }

    /// Reads a page that is followed in a cluster's network: all of it, or, where a set-up comes before it, what needs a cluster.
    ///
    /// # Errors
    /// As [`Page::parse`].
    pub(crate) fn parse_in_cluster(path: &str, text: &str) -> Result<Self> {
        Self::read(path, text, true)
    }

    /// Whether some of its blocks need a cluster.
    pub(crate) fn needs_cluster(&self) -> bool {
        self.left_out.iter().any(|(reason, _)| reason == CLUSTER)
    }

    fn read(path: &str, text: &str, in_cluster: bool) -> Result<Self> {
        let mut page =
            Self { path: path.to_owned(), set_up: None, steps: Vec::new(), left_out: Vec::new(), blocks: 0, in_cluster };
        let mut typed = Vec::new();
        let mut lines = text.lines().zip(1..);
        while let Some((line, number)) = lines.next() {
            if let Some(comment) = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")) {
                match comment.split_once(": ") {
                    Some(("type", text)) => typed.push(text.to_owned()),
                    Some(("set-up", name)) if page.steps.is_empty() => page.set_up = Some(name.to_owned()),
                    _ => bail!("{path}:{number}: what is this comment? {comment}"),
                }
                continue;
            }
            let Some(info) = fence(line).with_context(|| format!("{path}:{number}"))? else {
                ensure!(typed.is_empty() || line.is_empty(), "{path}:{number}: what is typed stands right before a block");
                continue;
            };
            let mut body = String::new();
            loop {
                let (line, _) = lines.next().with_context(|| format!("{path}:{number}: the block has no end"))?;
                if line == "```" {
                    break;
                }
                body.push_str(line);
                body.push('\n');
            }
            page.block(number, info, &body, std::mem::take(&mut typed)).with_context(|| format!("{path}:{number}"))?;
        }
        ensure!(typed.is_empty(), "{path}: nothing asks for what is typed");
        Ok(page)
    }

    /// What a step is shown to print.
    pub(crate) fn shown(&self, step: usize) -> &str {
        match self.steps.get(step) {
            Some(Step { what: What::Run(Run { output: Some(output), .. }), .. }) => output,
            _ => "",
        }
    }

    fn block(&mut self, line: usize, info: &str, body: &str, typed: Vec<String>) -> Result<()> {
        self.blocks += 1;
        let mut words = info.split(',');
        let language = words.next().filter(|language| !language.is_empty()).context("a block without a language")?;
        let marks = Marks::parse(language, words)?;
        let runs = match language {
            "sh" => vec![(line, body.to_owned(), None)],
            "console" => prompts(line, body)?,
            _ if SHOWN.contains(&language) => {
                ensure!(typed.is_empty(), "nothing can be typed into {language}");
                if let Some(name) = marks.file {
                    self.steps.push(Step { line, what: What::File { name, text: body.to_owned() } });
                }
                return Ok(());
            }
            _ => bail!("no such language: {language}"),
        };
        // What is there before such a page is not there in the cluster's network.
        if self.in_cluster && self.set_up.is_some() && marks.reason.as_deref() != Some(CLUSTER) {
            return Ok(());
        }
        if let Some(reason) = marks.reason.filter(|reason| !(self.in_cluster && reason == CLUSTER)) {
            self.left_out.push((reason, runs.len()));
            return Ok(());
        }
        ensure!(runs.len() == 1 || typed.is_empty() && !marks.runs_on, "one command in a block that is typed into or runs on");
        let last = runs.len() - 1;
        for (index, (line, commands, output)) in runs.into_iter().enumerate() {
            let exit = if index == last { marks.exit } else { 0 };
            let run = Run { commands, output, exit, typed: typed.clone(), runs_on: marks.runs_on };
            self.steps.push(Step { line, what: What::Run(run) });
        }
        Ok(())
    }
}

/// The info string, where a line begins a block.
fn fence(line: &str) -> Result<Option<&str>> {
    ensure!(!line.trim_start().starts_with("~~~"), "blocks are fenced with ```");
    match line.strip_prefix("```") {
        Some(info) => {
            ensure!(!info.starts_with('`') && !info.contains(' '), "a block's language and marks are words with commas: {info}");
            Ok(Some(info))
        }
        None => {
            ensure!(!line.trim_start_matches([' ', '>', '\t']).starts_with("```"), "a block begins at the line's beginning");
            ensure!(!line.starts_with("    ") && !line.starts_with('\t'), "a block without a fence");
            Ok(None)
        }
    }
}

/// The commands of a session, with what each printed: a command begins with `$ ` and goes on with `> `.
fn prompts(line: usize, body: &str) -> Result<Vec<(usize, String, Option<String>)>> {
    let mut runs: Vec<(usize, String, Option<String>)> = Vec::new();
    for (text, number) in body.lines().zip(line + 1..) {
        if let Some(command) = text.strip_prefix("$ ") {
            runs.push((number, format!("{command}\n"), Some(String::new())));
            continue;
        }
        let (_, command, output) = runs.last_mut().context("a session begins with $ and a command")?;
        match (text.strip_prefix("> "), output) {
            (Some(more), Some(output)) if output.is_empty() => {
                command.push_str(more);
                command.push('\n');
            }
            (_, output) => {
                let output = output.get_or_insert_default();
                output.push_str(text);
                output.push('\n');
            }
        }
    }
    ensure!(!runs.is_empty(), "a session without a command");
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_no_test_would_see_is_refused() {
        for text in [
            "```\ncoffer status\n```\n",
            "```bash\ncoffer status\n```\n",
            "```sh,later\ncoffer status\n```\n",
            "```sh,terminal\ncoffer dev\n```\n",
            "```text,cluster\nx\n```\n",
            "```sh ignore\ncoffer status\n```\n",
            "```sh\ncoffer status\n",
            "- x\n  ```sh\n  coffer status\n  ```\n",
            "> ```sh\n> coffer status\n> ```\n",
            "~~~sh\ncoffer status\n~~~\n",
            "x:\n\n    coffer status\n",
            "```console\ncoffer status\n```\n",
            "```sh,exit=x\ncoffer status\n```\n",
            "<!-- typo: x -->\n",
            "<!-- type: x -->\n\nand then\n",
            "<!-- type: x -->\n```console\n$ a\n$ b\n```\n",
        ] {
            assert!(Page::parse("p", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_session_is_its_commands_with_what_each_printed() {
        let text = "# T\n```console,exit=3\n$ a \\\n> b\nout\n> not a command\n$ c\n```\n\n```toml,file=x.toml\nk = 1\n```\n```sh,build\ncargo\n```\n";
        let page = Page::parse("p", text).unwrap();
        let [first, second, file] = page.steps.as_slice() else { panic!("{page:?}") };
        let What::Run(run) = &first.what else { panic!("{first:?}") };
        assert_eq!((run.commands.as_str(), run.output.as_deref(), run.exit), ("a \\\nb\n", Some("out\n> not a command\n"), 0));
        let What::Run(run) = &second.what else { panic!("{second:?}") };
        assert_eq!((run.commands.as_str(), run.output.as_deref(), run.exit, second.line), ("c\n", Some(""), 3, 7));
        assert!(matches!(&file.what, What::File { name, text } if name == "x.toml" && text == "k = 1\n"));
        assert_eq!((page.left_out.as_slice(), page.blocks), ([("build".to_owned(), 1)].as_slice(), 3));
    }
}
