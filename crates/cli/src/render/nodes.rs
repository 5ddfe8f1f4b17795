//! `nodes` and `node show`.
use super::Page;
use crate::look::{Look, elapsed};
use crate::text::{Column, clean, counted, facts, hourly, label_line, money, size_short, table};
use pcluster_api::{NodeDetail, NodeList, NodeView};

/// True once the node has reported and jobs can be on it.
fn is_there(node: &NodeView) -> bool {
    !matches!(node.state.as_str(), "wanted" | "booting" | "failed" | "gone")
}

fn is_over(node: &NodeView) -> bool {
    matches!(node.state.as_str(), "failed" | "gone")
}

/// A slash under a slash: `12/16`, ` 8/16`, ` 0/8 `.
fn fraction(node: &NodeView, used: u64, of: u64, wide: (usize, usize)) -> String {
    if !is_there(node) {
        return format!("{:>1$}", "-", wide.0 + 1 + wide.1);
    }
    format!("{used:>0$}/{of:<1$}", wide.0, wide.1)
}

fn gigabytes(bytes: u64) -> u64 {
    (bytes + (1 << 29)) >> 30
}

fn memory(node: &NodeView, wide: usize) -> String {
    if !is_there(node) {
        return format!("{:>wide$}", "-");
    }
    // Small nodes are counted in MB: `0/1G` says nothing.
    let text = if node.memory_bytes < 4 << 30 {
        let used = size_short(node.memory_used_bytes & !((1 << 20) - 1));
        format!("{used}/{}", size_short(node.memory_bytes & !((1 << 20) - 1)))
    } else {
        format!("{}/{}G", gigabytes(node.memory_used_bytes), gigabytes(node.memory_bytes))
    };
    format!("{text:>wide$}")
}

fn price(node: &NodeView) -> String {
    match node.price_per_hour_micro_usd {
        Some(price) if !is_over(node) => hourly(price).trim_start_matches('$').to_owned(),
        None if !is_over(node) => "?".to_owned(),
        _ => "-".to_owned(),
    }
}

fn ms_between(from_ms: i64, to_ms: i64) -> u64 {
    u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0)
}

fn what_now(node: &NodeView, now_ms: i64) -> String {
    match node.state.as_str() {
        "wanted" | "booting" => {
            let phase = node.phase.clone().unwrap_or_else(|| "asked for".to_owned());
            let since = node.phase_since_ms.unwrap_or(node.wanted_at_ms);
            format!("{phase}, {}", elapsed(ms_between(since, now_ms)))
        }
        "failed" => "see below".to_owned(),
        "idle" | "busy" if node.why.is_some() => out_of_service(node),
        "idle" => match node.stops_at_ms {
            Some(at) => format!("stops in {}", elapsed(ms_between(now_ms, at))),
            None => "stays".to_owned(),
        },
        "busy" if node.connected => node.jobs.join(", "),
        "busy" => format!("silent; {}", node.jobs.join(", ")),
        _ => {
            let why = node.why.clone().unwrap_or_default();
            match (node.jobs.is_empty(), why.is_empty()) {
                (true, _) => why,
                (false, true) => node.jobs.join(", "),
                (false, false) => format!("{}; {why}", node.jobs.join(", ")),
            }
        }
    }
}

/// It is well but for something that keeps new jobs away.
fn out_of_service(node: &NodeView) -> String {
    let why = node.why.clone().unwrap_or_default();
    if node.jobs.is_empty() { why } else { format!("{}; {why}", node.jobs.join(", ")) }
}

/// The page of `nodes`.
#[must_use]
pub fn nodes(list: &NodeList, look: &Look) -> Page {
    let mut page = Page::default();
    let any_gpus = list.nodes.iter().any(|node| node.gpus > 0);
    if !list.nodes.is_empty() {
        page.data = table(&columns(any_gpus), &rows(list, any_gpus, look), look.width);
    }
    page.talk = footer(list, look);
    page
}

fn columns(any_gpus: bool) -> Vec<Column> {
    let mut columns = vec![
        Column::left("NODE").at_most(24),
        Column::left("STATE").at_least(7),
        Column::left("SHAPE").at_most(20),
        Column::left("HOW").at_least(6),
        Column::left("CPUS").at_least(5),
        Column::left("MEMORY"),
    ];
    if any_gpus {
        columns.push(Column::left("GPU"));
    }
    columns.extend([
        Column::left("$/H").at_least(4),
        Column::left("SINCE").at_least(5),
        Column::left("NOW"),
    ]);
    columns
}

fn rows(list: &NodeList, any_gpus: bool, look: &Look) -> Vec<Vec<String>> {
    let digits = |number: u32| number.to_string().len();
    let there = || list.nodes.iter().filter(|node| is_there(node));
    let used_wide = there().map(|node| digits(node.cpus_used)).max().unwrap_or(1).max(2);
    let of_wide = there().map(|node| digits(node.cpus)).max().unwrap_or(1).max(2);
    let memory_wide = there().map(|node| memory(node, 0).len()).max().unwrap_or(1).max(6);
    let row = |node: &NodeView| {
        let cpus = fraction(node, node.cpus_used.into(), node.cpus.into(), (used_wide, of_wide));
        let mut row = vec![
            node.name.clone(),
            node.state.clone(),
            node.shape.clone(),
            if node.spot { "spot".to_owned() } else { "demand".to_owned() },
            cpus,
            memory(node, memory_wide),
        ];
        if any_gpus {
            row.push(match node.gpus {
                0 => " -".to_owned(),
                gpus => format!("{}/{gpus}", node.gpus_used),
            });
        }
        row.extend([price(node), look.clock(node.wanted_at_ms), what_now(node, list.now_ms)]);
        row
    };
    list.nodes.iter().map(row).collect()
}

fn footer(list: &NodeList, look: &Look) -> String {
    let live = list.nodes.iter().filter(|node| !is_over(node)).count() as u64;
    let stands = hourly(list.standing_per_hour_micro_usd);
    let is_standing = list.standing_per_hour_micro_usd > 0;
    let mut out = if live == 0 && is_standing {
        format!("no node: head and storage bill {stands} an hour. A job starts one.\n")
    } else if live == 0 {
        "no node: nothing bills. A job starts one.\n".to_owned()
    } else {
        let verb = if live == 1 { "bills" } else { "bill" };
        let sum = hourly(list.price_per_hour_micro_usd);
        let more =
            if is_standing { format!("; head and storage {stands} more") } else { String::new() };
        format!("{} {verb} {sum} an hour{more}\n", counted(live, "node"))
    };
    if list.unknown_prices > 0 {
        let text = counted(list.unknown_prices.into(), "node");
        out.push_str(&format!("{text} without a known price, counted as nothing\n"));
    }
    let mut last = None;
    for node in list.nodes.iter().filter(|node| node.state == "failed") {
        let gone = node.gone_at_ms.map(|at| format!("; gone {}", look.clock_seconds(at)));
        let (name, why) = (clean(&node.name), node.why.as_deref().unwrap_or("failed"));
        let cost = money(node.cost_micro_usd);
        out.push_str(&format!("{name}: {}{}, cost {cost}\n", clean(why), gone.unwrap_or_default()));
        if let Some(line) = &node.last_line {
            out.push_str(&format!("  {}\n", clean(line)));
        }
        last = Some(name);
    }
    if let Some(name) = last {
        out.push_str(&format!("hint: pcluster node log {name}\n"));
    }
    out
}

/// The page of `node show`.
#[must_use]
pub fn node(detail: &NodeDetail, look: &Look) -> String {
    let node = &detail.node;
    let how = if node.spot { "spot" } else { "demand" };
    let mut out = format!(
        "{}  {}  {}  {how}  pool {}\n",
        clean(&node.name),
        clean(&node.state),
        clean(&node.shape),
        clean(&node.pool)
    );
    let mut said: Vec<(String, String)> = Vec::new();
    let mut say = |label: &str, text: String| {
        if !text.is_empty() {
            said.push((label.to_owned(), text));
        }
    };
    say("why", node.why.clone().unwrap_or_default());
    say("last line", node.last_line.clone().unwrap_or_default());
    say("instance", node.instance.clone().unwrap_or_default());
    say("image", node.image.clone());
    if is_there(node) {
        let memory =
            format!("{} of {}", size_short(node.memory_used_bytes), size_short(node.memory_bytes));
        say("used", format!("{} of {} CPUs, {memory}", node.cpus_used, node.cpus));
    }
    say("jobs", node.jobs.join(", "));
    let rate = node
        .price_per_hour_micro_usd
        .map_or("no known price".to_owned(), |p| format!("{}/h", hourly(p)));
    say("cost", format!("{} so far, {rate}", money(node.cost_micro_usd)));
    said.extend(detail.facts.iter().cloned());
    out.push_str(&facts(&said, 10, look.width));
    out.push_str(&timeline(&detail.timeline, look));
    if !detail.log.is_empty() {
        out.push_str(&label_line(
            "log",
            &format!("pcluster node log {}", node.name),
            10,
            look.width,
        ));
    }
    out
}

/// `14:16:50 launch asked`, then how long after that each thing happened.
fn timeline(moments: &[(i64, String)], look: &Look) -> String {
    let Some((first, what)) = moments.first() else { return String::new() };
    let start = look.clock_seconds(*first);
    let wide = start.chars().count();
    let mut out = format!("{start} {}\n", clean(what));
    for (at, what) in &moments[1..] {
        let after = format!("+{}", elapsed(ms_between(*first, *at)));
        out.push_str(&format!("{after:>wide$} {}\n", clean(what)));
    }
    out
}
