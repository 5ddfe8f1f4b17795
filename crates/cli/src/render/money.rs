//! `cost` and `history`.
use super::Page;
use super::queue::outcome_words;
use crate::look::{Look, elapsed};
use crate::text::{Column, clean, counted, cut, label_line, money, size_short, table, thousands};
use pcluster_api::{CostBuckets, CostView, HistoryList};

/// Said once under every sum: what a list price does not hold. Where something stands, nodes have volumes, too.
fn not_counted(view: &CostView) -> String {
    let volumes = if view.standing.is_empty() { "" } else { "volumes of nodes, " };
    format!("not counted: {volumes}data transfer, snapshots, tax, discounts\n")
}

/// Share in whole percent, rounded; `-` of nothing.
fn percent(part: i64, whole: i64) -> String {
    if whole <= 0 {
        return "-".to_owned();
    }
    let share = (i128::from(part) * 200 + i128::from(whole)) / (i128::from(whole) * 2);
    format!("{share} %")
}

/// Amounts of one page, all with the same number of decimals: the parts of a small bill show what
/// they are, to the millionth, and add up before the reader's eyes.
#[derive(Debug, Clone, Copy)]
struct Amounts {
    decimals: u32,
    width: usize,
}

impl Amounts {
    const fn of_page(largest_micro_usd: i64) -> Self {
        let decimals = match largest_micro_usd.unsigned_abs() {
            0 => 2,
            1..100_000 => 6,
            100_000..10_000_000 => 4,
            _ => 2,
        };
        Self { decimals, width: 80 }
    }

    fn say(self, micro_usd: i64) -> String {
        if self.decimals == 2 {
            return money(micro_usd);
        }
        let unit = 10u64.pow(6 - self.decimals);
        let rounded = (micro_usd.unsigned_abs() + unit / 2) / unit;
        let one = 10u64.pow(self.decimals);
        let wide = self.decimals as usize;
        let sign = if micro_usd < 0 { "-" } else { "" };
        format!("{sign}${}.{:0wide$}", rounded / one, rounded % one)
    }

    /// One line of the bill; long words go on below themselves.
    fn line(self, label: &str, amount: i64, share: &str, words: &str) -> String {
        let front = format!("{label:<8}{:>9}{share:>7}", self.say(amount));
        label_line(&front, words, 27, self.width)
    }
}

fn sum_of(buckets: &CostBuckets) -> i64 {
    buckets.job_micro_usd
        + buckets.boot_micro_usd
        + buckets.idle_busy_micro_usd
        + buckets.idle_empty_micro_usd
        + buckets.drain_micro_usd
}

/// `t3.large; 500 GB gp3 (estimated)`: what a line of what stands is made of.
fn standing_words(view: &CostView, kind: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for line in view.standing.iter().filter(|line| line.kind == kind) {
        let mut one = clean(&line.label);
        if line.price_per_hour_micro_usd.is_none() {
            one.push_str(", no known price");
        }
        if line.estimated {
            one.push_str(", with an estimated end");
        }
        if !words.contains(&one) {
            words.push(one);
        }
    }
    words.join("; ")
}

fn spans_words(view: &CostView) -> String {
    let mut parts = vec![counted(view.spans, "span")];
    match view.provider_micro_usd {
        Some(meter) if meter == view.nodes_micro_usd => {
            parts[0].push_str(", equal to the provider's own meter");
        }
        Some(meter) => {
            let exact = Amounts { decimals: 6, width: 0 };
            parts.push(format!("the provider's own meter says {}", exact.say(meter)));
        }
        None => {}
    }
    if view.open_spans > 0 {
        parts.push(format!("{} still open", view.open_spans));
    }
    if view.estimated_spans > 0 {
        parts.push(format!("{} with an estimated end", view.estimated_spans));
    }
    if view.unknown_prices > 0 {
        parts.push(format!("{} without a known price", view.unknown_prices));
    }
    parts.join("; ")
}

/// The page of `cost`; `heading` names what the rows are of.
#[must_use]
pub fn cost(view: &CostView, heading: &'static str, waste: bool, look: &Look) -> Page {
    let b = &view.buckets;
    let nodes = sum_of(b);
    let whole = nodes + view.head_micro_usd + view.storage_micro_usd;
    let idle = b.idle_busy_micro_usd + b.idle_empty_micro_usd;
    let a = Amounts { width: look.width, ..Amounts::of_page(whole.max(view.nodes_micro_usd)) };
    let days = look.days(view.since_ms, view.now_ms);
    let mut out = format!("cluster {}, {days}, list prices, USD\n", clean(&view.cluster));
    let rooms = format!(
        "{} free room on busy nodes, {} empty nodes",
        a.say(b.idle_busy_micro_usd),
        a.say(b.idle_empty_micro_usd)
    );
    let rows = [
        ("jobs", b.job_micro_usd, counted(view.jobs, "job")),
        ("boot", b.boot_micro_usd, counted(view.boots, "boot")),
        ("idle", idle, if idle == 0 { String::new() } else { rooms }),
        ("drain", b.drain_micro_usd, String::new()),
    ];
    for (label, amount, words) in rows {
        out.push_str(&a.line(label, amount, &percent(amount, whole), &words));
    }
    out.push_str(&a.line("nodes", view.nodes_micro_usd, "", &spans_words(view)));
    let standing = [("head", view.head_micro_usd), ("storage", view.storage_micro_usd)];
    for (kind, amount) in standing {
        let words = standing_words(view, kind);
        if !words.is_empty() {
            out.push_str(&a.line(kind, amount, &percent(amount, whole), &words));
        }
    }
    let total = view.nodes_micro_usd + view.head_micro_usd + view.storage_micro_usd;
    if let Some(budget) = view.budget_micro_usd {
        let free = budget - total - view.committed_micro_usd;
        let words = format!(
            "of {}; {} more committed, {} free",
            money(budget),
            a.say(view.committed_micro_usd),
            money(free.max(0))
        );
        out.push_str(&a.line("total", total, "", &words));
    } else if !view.standing.is_empty() {
        out.push_str(&a.line("total", total, "", "nodes, head and storage"));
    }
    let mut talk = not_counted(view);
    if waste {
        out.push_str(&wasted(view, a));
    } else {
        if !view.by.is_empty() {
            out.push('\n');
            out.push_str(&by_table(view, heading, a));
        }
        if idle > 0 {
            out.push_str("hint: pcluster cost --waste\n");
        }
    }
    if nodes != view.nodes_micro_usd {
        talk.push_str("warning: the parts do not add up to the nodes; please report this\n");
    }
    Page { data: out, talk }
}

/// Where money went that no job used, and what would help.
fn wasted(view: &CostView, a: Amounts) -> String {
    let b = &view.buckets;
    let rows = [
        (
            b.idle_busy_micro_usd,
            "free room on busy nodes: ask for what jobs use (pcluster history)",
        ),
        (b.idle_empty_micro_usd, "empty nodes: a shorter idle_timeout"),
        (b.boot_micro_usd, "booting: a longer idle_timeout, or a smaller image"),
        (b.drain_micro_usd, "draining: nodes that finish their last jobs"),
    ];
    let sum: i64 = rows.iter().map(|(amount, _)| amount).sum();
    let mut out =
        format!("\nnot used by jobs: {} ({})\n", a.say(sum), percent(sum, view.nodes_micro_usd));
    for (amount, words) in rows.iter().filter(|(amount, _)| *amount > 0) {
        out.push_str(&format!("  {:>9}  {words}\n", a.say(*amount)));
    }
    out
}

fn by_table(view: &CostView, heading: &'static str, a: Amounts) -> String {
    let share = |value: Option<u32>| value.map_or("-".to_owned(), |p| format!("{p} %"));
    let mut columns = vec![
        Column::left(heading).at_least(8).at_most(24),
        Column::right("JOBS").at_least(5),
        Column::right("CPU-HOURS").at_least(11),
        Column::right("COST").at_least(9),
        Column::right("USED CPU").at_least(10),
        Column::right("USED MEM").at_least(10),
    ];
    // By day only: it belongs to no user, job or pool.
    let stood = view.by.iter().any(|row| row.standing_micro_usd > 0);
    if stood {
        columns.push(Column::right("STANDING").at_least(9));
    }
    let rows: Vec<Vec<String>> = view
        .by
        .iter()
        .map(|row| {
            let mut cells = vec![
                row.key.clone(),
                thousands(row.jobs),
                cpu_hours(row.cpu_hours_milli),
                a.say(row.cost_micro_usd),
                share(row.used_cpu_percent),
                share(row.used_memory_percent),
            ];
            if stood {
                cells.push(a.say(row.standing_micro_usd));
            }
            cells
        })
        .collect();
    table(&columns, &rows, a.width)
}

/// Whole hours where there are many, three decimals where there are few.
fn cpu_hours(milli: u64) -> String {
    if milli >= 100_000 {
        return thousands((milli + 500) / 1000);
    }
    format!("{}.{:03}", milli / 1000, milli % 1000)
}

/// The page of `history`: newest first.
#[must_use]
pub fn history(list: &HistoryList, all: bool, look: &Look) -> Page {
    let mut page = Page::default();
    if list.jobs.is_empty() {
        page.talk = "nothing has ended yet\n".to_owned();
        return page;
    }
    let mut columns = vec![Column::left("JOB").at_most(14)];
    if all {
        columns.push(Column::left("USER").at_most(12));
    }
    columns.extend([
        Column::left("NAME").at_most(if look.width > 100 { 32 } else { 16 }),
        Column::left("ENDED"),
        Column::right("TIME"),
        Column::right("CPU"),
        Column::right("MEMORY"),
        Column::left("COST").at_least(6),
        Column::left("HOW"),
    ]);
    let rows: Vec<Vec<String>> = list
        .jobs
        .iter()
        .map(|entry| {
            let job = &entry.job;
            let mut row = vec![job.id.clone()];
            if all {
                row.push(job.user.clone());
            }
            let held = u128::from(job.elapsed_ms) * u128::from(job.cpus.max(1));
            let used = (u128::from(entry.cpu_ms) * 100).checked_div(held);
            row.extend([
                cut(&clean(&job.name), 32),
                job.ended_at_ms.map_or("-".to_owned(), |at| look.clock(at)),
                if job.started_at_ms.is_some() { elapsed(job.elapsed_ms) } else { "-".to_owned() },
                used.map_or("-".to_owned(), |percent| format!("{percent} %")),
                format!("{}/{}", size_short(entry.max_rss_bytes), size_short(job.memory_bytes)),
                job.cost_micro_usd.map_or("-".to_owned(), money),
                outcome_words(job),
            ]);
            row
        })
        .collect();
    page.data = table(&columns, &rows, look.width);
    page
}
