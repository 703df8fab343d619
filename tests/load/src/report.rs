//! The final report. Owns the samples and their summary: medians, ratios, tables as text and the JSON. Does
//! not know how samples are measured.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde_json::{Value, json};

use crate::measure::{self, Processors, median};
use crate::rows::{Lane, Row};
use crate::servers::Server;

/// A successful measurement.
pub struct Sample {
    /// Index in [`Report::rows`].
    pub row: usize,
    /// Index in the row's lanes.
    pub lane: usize,
    pub round: u32,
    /// One per column of the row.
    pub figures: Vec<f64>,
}

/// All samples, and the conditions of the run.
pub struct Report {
    pub rows: Vec<Row>,
    pub samples: Vec<Sample>,
    /// One sentence each: which measurement failed, and why.
    pub failures: Vec<String>,
    servers: Vec<Server>,
    rounds: u32,
    /// The settings and the machine, in one sentence.
    pub conditions: String,
}

const LEGEND: &str = "\
    CPU: user and system time of all processes of the server. p50 to p99.9: from writing a batch to its last answer.
    `/ x`: the line's first figure divided by x's in the same round; `x /`: x's divided by the line's.";

/// One line of a table.
struct Summary {
    /// Median of each column; none if no measurement succeeded.
    medians: Vec<Option<f64>>,
    /// Ratio of this lane's cost to the reference lane's, and of the first lane's cost to this lane's.
    over_reference: Option<f64>,
    first_over_this: Option<f64>,
}

impl Report {
    pub fn new(
        rows: Vec<Row>,
        servers: &[Server],
        rounds: u32,
        duration: Duration,
        processors: Processors,
    ) -> Self {
        let (samples, failures, servers) = (Vec::new(), Vec::new(), servers.to_vec());
        let Processors { server, load, .. } = processors;
        let plural = if rounds == 1 { "" } else { "s" };
        let apart = if server == load { " (shared: the figures are less reliable)" } else { "" };
        let conditions = format!(
            "{rounds} round{plural} of {duration:?}, server on processor {server}, load on {load}{apart}; load average \
             at the start {}",
            measure::load_average()
        );
        Self { rows, samples, failures, servers, rounds, conditions }
    }

    fn summary(&self, row: usize, lane: usize) -> Summary {
        let lanes = &self.rows[row].lanes;
        let column = |column: usize| {
            let samples = self.samples.iter().filter(|s| s.row == row && s.lane == lane);
            median(samples.map(|s| s.figures[column]).collect())
        };
        let reference = lanes.iter().position(|lane| lane.label == self.rows[row].reference);
        Summary {
            medians: (0..self.rows[row].columns.len()).map(column).collect(),
            over_reference: reference.and_then(|reference| self.ratio(row, lane, reference)),
            first_over_this: self.ratio(row, 0, lane),
        }
    }

    /// The median over the rounds of the ratio of two lanes' costs in the same round.
    fn ratio(&self, row: usize, over: usize, under: usize) -> Option<f64> {
        let cost = |lane, round| {
            self.samples.iter().find(|s| (s.row, s.lane, s.round) == (row, lane, round)).map(|s| s.figures[0])
        };
        let of_round = |round| Some(cost(over, round)? / cost(under, round)?);
        median((1..=self.rounds).filter_map(of_round).collect())
    }

    /// The summary and all samples, with the columns' names as keys.
    pub fn json(&self) -> Value {
        let lane = |row: usize, lane: usize| {
            let Row { columns, lanes, .. } = &self.rows[row];
            let name = |column: usize| columns[column].key.to_string();
            let summary = self.summary(row, lane);
            let medians = summary.medians.iter().enumerate().map(|(i, &f)| (name(i), json!(f)));
            let samples = self.samples.iter().filter(|s| s.row == row && s.lane == lane).map(|s| {
                let figures = s.figures.iter().enumerate().map(|(i, &f)| (name(i), json!(f)));
                json!({ "round": s.round, "figures": figures.collect::<Value>() })
            });
            json!({
                "name": lanes[lane].label,
                "medians": medians.collect::<Value>(),
                "over_reference": summary.over_reference,
                "first_over_this": summary.first_over_this,
                "samples": samples.collect::<Value>(),
            })
        };
        let row = |(i, row): (usize, &Row)| {
            let lanes: Value = (0..row.lanes.len()).map(|j| lane(i, j)).collect();
            json!({ "name": row.name.text(), "title": row.title, "reference": row.reference, "lanes": lanes })
        };
        json!({
            "conditions": self.conditions,
            "rows": self.rows.iter().enumerate().map(row).collect::<Value>(),
            "failures": self.failures,
        })
    }
}

impl Row {
    /// The ratio columns: cost relative to the reference lane, and the first lane's cost relative to each
    /// lane. Redundant columns are omitted.
    fn ratio_columns(&self) -> Vec<String> {
        let first = self.lanes[0].label;
        let over = format!("/ {}", self.reference);
        match self.lanes.len() > 1 && !self.reference.is_empty() {
            false => vec![],
            true if self.reference == first => vec![over],
            true => vec![over, format!("{first} /")],
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, row) in self.rows.iter().enumerate() {
            let ratio_columns = row.ratio_columns();
            write!(f, "\n{}: {}\n{:<16}", row.name.text(), row.title, "")?;
            row.columns.iter().try_for_each(|column| write!(f, "{:>12}", column.title))?;
            ratio_columns.iter().try_for_each(|title| write!(f, "{title:>18}"))?;
            writeln!(f)?;
            for (lane, Lane { label, .. }) in row.lanes.iter().enumerate() {
                let summary = self.summary(index, lane);
                write!(f, "{label:<16}")?;
                for (column, &figure) in row.columns.iter().zip(&summary.medians) {
                    write!(f, "{:>12}", shown(figure, column.decimals))?;
                }
                let ratios = [summary.over_reference, summary.first_over_this];
                for (_, &ratio) in ratio_columns.iter().zip(&ratios) {
                    write!(f, "{:>18}", shown(ratio, 3))?;
                }
                writeln!(f)?;
            }
        }
        writeln!(f, "\nMedians over {}.\n{LEGEND}", self.conditions)?;
        let at_work =
            |server: &Server| self.rows.iter().flat_map(|row| &row.lanes).any(|lane| lane.server == *server);
        for server in self.servers.iter().filter(|server| at_work(server)) {
            writeln!(f, "{}: {}", server.name(), server.configuration())?;
        }
        self.failures.iter().try_for_each(|failure| writeln!(f, "FAILED: {failure}"))
    }
}

fn shown(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or("-".into(), |figure| format!("{figure:.decimals$}"))
}
