//! A recorded session as a picture: an SVG of text that can be selected, made from what the commands really printed.

use std::{env, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::programs::Programs;

use super::{
    ROOT,
    page::{Page, What},
    pattern, read,
    shell::Shell,
};

const SESSION: &str = "tests/tests/book/session.md";
const PICTURE: &str = "docs/pictures/session.svg";
/// What README can bear.
const PICTURE_BYTES: usize = 60_000;

/// A line of the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// What is said about the commands that follow.
    Remark(String),
    Command(String),
    Output(String),
}

impl Line {
    /// The line as a terminal shows it.
    fn text(&self) -> String {
        match self {
            Self::Remark(text) => format!("# {text}"),
            Self::Command(text) => format!("$ {text}"),
            Self::Output(text) => text.clone(),
        }
    }

    fn of_text(text: &str) -> Self {
        match (text.strip_prefix("# "), text.strip_prefix("$ ")) {
            (Some(remark), _) => Self::Remark(remark.to_owned()),
            (_, Some(command)) => Self::Command(command.to_owned()),
            _ => Self::Output(text.to_owned()),
        }
    }
}

/// The page's lines, each output as `printed` gives it for its step.
fn lines(page: &Page, text: &str, printed: impl Fn(usize) -> Result<Vec<String>>) -> Result<Vec<Line>> {
    let remarks: Vec<(usize, &str)> = text
        .lines()
        .zip(1..)
        .skip(1)
        .scan(false, |in_block, (line, number)| {
            let fence = line.starts_with("```");
            *in_block ^= fence;
            Some((number, if *in_block || fence || line.starts_with("<!--") { "" } else { line }))
        })
        .filter(|(_, line)| !line.is_empty())
        .collect();
    let (mut lines, mut before) = (Vec::new(), 0);
    for (index, step) in page.steps.iter().enumerate() {
        for (_, remark) in remarks.iter().filter(|(number, _)| (before..step.line).contains(number)) {
            if !lines.is_empty() {
                lines.push(Line::Output(String::new()));
            }
            lines.push(Line::Remark((*remark).to_owned()));
        }
        before = step.line;
        let What::Run(run) = &step.what else { continue };
        lines.push(Line::Command(run.commands.trim_end().to_owned()));
        lines.extend(printed(index)?.into_iter().map(Line::Output));
    }
    Ok(lines)
}

/// The picture of a session: a window of its own, which stands out on white and on black.
fn drawn(lines: &[Line]) -> String {
    const LEFT: usize = 20;
    const TOP: usize = 62;
    const HEIGHT: usize = 20;
    let columns = lines.iter().map(|line| line.text().chars().count()).max().unwrap_or_default();
    let (width, height) = (2 * LEFT + columns * 17 / 2, TOP + lines.len() * HEIGHT + 8);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"A terminal session with coffer\">\n\
         <style>\n\
         text {{ font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #c9d1d9; white-space: pre }}\n\
         .r {{ fill: #8b949e }} .p {{ fill: #7ee787 }} .c {{ fill: #f0f6fc; font-weight: 600 }}\n\
         </style>\n\
         <rect x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"10\" fill=\"#0d1117\" stroke=\"#6e7681\"/>\n\
         <circle cx=\"22\" cy=\"20\" r=\"6\" fill=\"#ff5f56\"/><circle cx=\"42\" cy=\"20\" r=\"6\" fill=\"#ffbd2e\"/>\
         <circle cx=\"62\" cy=\"20\" r=\"6\" fill=\"#27c93f\"/>\n",
        width - 1,
        height - 1,
    );
    for (index, line) in lines.iter().enumerate() {
        let content = match line {
            Line::Remark(_) => format!("<tspan class=\"r\">{}</tspan>", escaped(&line.text())),
            Line::Command(text) => format!("<tspan class=\"p\">$ </tspan><tspan class=\"c\">{}</tspan>", escaped(text)),
            Line::Output(text) => escaped(text),
        };
        let y = TOP + index * HEIGHT;
        let row = format!("<text x=\"{LEFT}\" y=\"{y}\" xml:space=\"preserve\">{content}</text>");
        writeln!(svg, "{row}").unwrap_or_default();
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The lines of a picture that was drawn before.
fn read_back(svg: &str) -> Vec<Line> {
    let without_tags =
        |line: &str| -> String { line.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect() };
    let plain = |line: &str| without_tags(line).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    svg.lines().filter(|line| line.starts_with("<text")).map(|line| Line::of_text(&plain(line))).collect()
}

#[test]
fn a_picture_of_a_session_has_its_text_in_it() {
    let lines: Vec<_> = ["# what <follows>", "$ a && b > c", "out  put", "", "…"].map(Line::of_text).into();
    let svg = drawn(&lines);
    assert_eq!(read_back(&svg), lines);
    assert!(svg.contains("a &amp;&amp; b &gt; c") && svg.len() < 3_000, "{svg}");
}

#[test]
fn the_picture_in_readme_shows_the_session_that_is_tested() -> Result<()> {
    let (text, svg) = (read(SESSION)?, read(PICTURE)?);
    ensure!(svg.len() < PICTURE_BYTES, "{PICTURE} has {} bytes", svg.len());
    ensure!(read("README.md")?.contains(&format!("({PICTURE})")), "README.md does not show {PICTURE}");
    let page = Page::parse(SESSION, &text)?;
    let shown = lines(&page, &text, |step| Ok(page.shown(step).lines().map(str::to_owned).collect()))?;
    let (pictured, again) = (read_back(&svg), "COFFER_TEST_DRAW=1 cargo test -p coffer-tests --test book -- --ignored session");
    let text = |lines: &[Line]| lines.iter().map(|line| line.text() + "\n").collect::<String>();
    ensure!(pattern::matches(&text(&shown), &text(&pictured)), "{PICTURE} shows another session: {again}");
    ensure!(svg == drawn(&pictured), "{PICTURE} is drawn otherwise: {again}");
    Ok(())
}

/// Records the session anew; with `COFFER_TEST_DRAW=1` the picture is drawn from that.
#[test]
#[ignore = "needs root, for a network of its own: tests/run"]
fn the_session_in_readme_is_what_the_commands_print() -> Result<()> {
    let text = read(SESSION)?;
    let page = Page::parse(SESSION, &text)?;
    let mut shell = Shell::start(Programs::built()?)?;
    shell.follow(&page)?;
    let recorded = lines(&page, &text, |step| {
        let printed = shell.outputs().get(step).context("each step has printed something")?;
        pattern::aligned(page.shown(step), printed).with_context(|| format!("not what is shown: {printed}"))
    })?;
    if env::var_os("COFFER_TEST_DRAW").is_some() {
        fs::write(Path::new(ROOT).join(PICTURE), drawn(&recorded))?;
    }
    Ok(())
}
