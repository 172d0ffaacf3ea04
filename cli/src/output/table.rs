//! Tables without lines, as kubectl prints them.

use anstyle::Style;
use comfy_table::{ColumnConstraint, ContentArrangement, presets::NOTHING};

use super::{View, text::printable};

/// A table: headings in capitals, columns two spaces apart. Cells stay whole, so that names and ids can be copied.
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    prose: Option<&'static str>,
}

impl Table {
    /// A table with these headings.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new(), prose: None }
    }

    /// The column whose text is broken into lines where the terminal is too narrow.
    #[must_use]
    pub const fn prose(mut self, heading: &'static str) -> Self {
        self.prose = Some(heading);
        self
    }

    /// Adds a row. An empty cell is shown as `-`.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        let shown = |cell: String| if cell.is_empty() { "-".to_owned() } else { printable(&cell) };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// The table as text; `nothing` where it has no row.
    #[must_use]
    pub fn render(self, view: &View, nothing: &str) -> String {
        if self.rows.is_empty() {
            return nothing.to_owned();
        }
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).force_no_tty();
        match view.width.filter(|_| self.prose.is_some()) {
            Some(width) => table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        let prose = self.prose.and_then(|prose| self.headings.iter().position(|heading| *heading == prose));
        table.set_header(self.headings).add_rows(self.rows);
        for (number, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if prose != Some(number) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let bold = Style::new().bold();
        let mut text = String::new();
        for (number, line) in table.lines().enumerate() {
            match number {
                0 => text.push_str(&format!("{bold}{}{bold:#}\n", line.trim_end())),
                _ => text.push_str(&format!("{}\n", line.trim_end())),
            }
        }
        text
    }
}

/// Names and values, a line each, the values in one column.
#[must_use]
pub fn pairs(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let bold = Style::new().bold();
    let mut text = String::new();
    for (name, value) in lines {
        let gap = " ".repeat(width + 2 - name.chars().count());
        let value = if value.is_empty() { "-".to_owned() } else { printable(value) };
        text.push_str(&format!("{bold}{name}{bold:#}{gap}{value}\n"));
    }
    text
}
