//! The results as a table.

use std::fmt::Write;

use crate::measure::{Measured, Spans};

/// The results for one number of proxies: with many rollouts, and with all proxies in one group.
pub(crate) struct Row {
    pub(crate) many: Measured,
    pub(crate) one: Measured,
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = "\
proxies  rollouts  page KB  CPU, cores             memory MB  late ms p50/p99  look ms p50/p99  push ms p50/worst  push to all ms p50/worst
"
    .to_owned();
    for Row { many, one } in rows {
        let cpu = many.cpu.as_ref().map_or_else(|| "-".to_owned(), |cpu| cpu.show(2));
        let pushes =
            |of: &Measured| format!("{:.0} / {:.0}", of.pushes.median(), of.pushes.worst());
        writeln!(
            table,
            "{:>7}  {:>8}  {:>7}  {cpu:<21}  {:>9}  {:>15}  {:>15}  {:>17}  {:>24}",
            many.shape.proxies,
            many.shape.groups,
            many.page / 1_000,
            many.resident_kib / 1_024,
            quantiles(&many.lateness),
            quantiles(&many.duration),
            pushes(many),
            pushes(one),
        )
        .expect("a string accepts all writes");
    }
    table
}

fn quantiles(spans: &Spans) -> String {
    let ms =
        |share| spans.quantile_ms(share).map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
    format!("{} / {}", ms(0.5), ms(0.99))
}
