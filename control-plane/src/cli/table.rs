//! Tables of aligned columns, without lines, so that they read well and `awk` takes them.

use super::text::{Paint, Tone, printable};

/// On which side a column's cells begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Cell {
    /// A cell whose text is coloured with `tone`.
    pub fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Cell { text: printable(text.as_ref()).into_owned(), tone }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell::toned(text, Tone::Plain)
    }
}

impl Table {
    /// A table with these headings and no rows.
    pub fn new(columns: &[(&'static str, Align)]) -> Self {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: one cell a column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table, a line each row, every line ended.
    pub fn render(&self, paint: Paint) -> String {
        let heads: Vec<Cell> = self.columns.iter().map(|(head, _)| Cell::toned(head, Tone::Bold)).collect();
        let lines = || std::iter::once(&heads).chain(&self.rows);
        let width = |column: usize| {
            lines().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut rendered = String::new();
        for row in lines() {
            let mut line = String::new();
            // Spaces are held back until something follows them: no line ends in one.
            let mut gap = 0;
            for (cell, (&width, (_, align))) in row.iter().zip(widths.iter().zip(&self.columns)) {
                let length = cell.text.chars().count();
                let pad = width - length;
                let (before, after) = if *align == Align::Left { (0, pad) } else { (pad, 0) };
                gap += before;
                if length > 0 {
                    line.push_str(&" ".repeat(gap));
                    line.push_str(&paint.tone(cell.tone, &cell.text));
                    gap = 0;
                } else {
                    gap += length;
                }
                gap += after + 2;
            }
            rendered.push_str(&line);
            rendered.push('\n');
        }
        rendered
    }
}

#[cfg(test)]
mod tests {
    use super::{Align, Cell, Paint, Table, Tone};

    #[test]
    fn columns_align_and_no_line_ends_in_a_space() {
        let mut table = Table::new(&[("NAME", Align::Left), ("N", Align::Right), ("WHY", Align::Left)]);
        table.row(["a".into(), "100".into(), "".into()]);
        table.row(["longer".into(), "1".into(), Cell::toned("x", Tone::Bad)]);
        assert_eq!(table.render(Paint(false)), "NAME      N  WHY\na       100\nlonger    1  x\n");
        assert!(table.render(Paint(true)).ends_with("longer    1  \x1b[31mx\x1b[0m\n"));
    }
}
