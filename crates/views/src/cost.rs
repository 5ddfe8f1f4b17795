//! `cost`: where the money went, and for whom.
//!
//! Invariant: the sum of buckets is the sum of spans, open ones priced up to now. Everybody sees
//! the cluster's sums; whose jobs cost what is for their owners and admins.
use super::money::{has_open_bill, open_bill};
use super::{Cx, schema, standing};
use pcluster_api::{CostBuckets, CostBy, CostRow, CostView};
use pcluster_core::Job;
use pcluster_core::ledger::{Bucket, Charge, Sums, day_of, midnight, month_span};
use pcluster_model::{JobId, MicroUsd, PoolName, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// What was used by the runs of one row.
#[derive(Debug, Default)]
struct Row {
    jobs: BTreeSet<JobId>,
    cost: MicroUsd,
    standing: MicroUsd,
    /// CPUs × milliseconds held, and CPU milliseconds used.
    cpu_held: u128,
    cpu_used: u128,
    /// Bytes × milliseconds held, and most bytes used × milliseconds.
    memory_held: u128,
    memory_used: u128,
}

/// Start of this month in the head's zone, wall clock.
#[must_use]
pub fn month_start_ms(cx: &Cx<'_>) -> i64 {
    month_span(Timestamp(cx.wall_now()), cx.zone_offset_ms()).0.0
}

/// What has been spent since a day of the head's zone: closed spans, open meters and what stood.
#[must_use]
pub fn spent_since(cx: &Cx<'_>, since_ms: i64) -> MicroUsd {
    let first_day = day_of(Timestamp(since_ms), cx.zone_offset_ms());
    let wall = Timestamp(cx.wall_now());
    let mut sum =
        cx.cluster.ledger.standing_between(midnight(first_day, cx.zone_offset_ms()), wall);
    super::money::each_charge(cx.cluster, cx.now, Timestamp(i64::MIN), |charge| {
        if charge.0 >= first_day {
            sum += charge.2;
        }
    });
    sum
}

/// What living nodes may still cost beyond what they have cost, and what stands until the month's end.
#[must_use]
pub fn committed(cx: &Cx<'_>) -> MicroUsd {
    let so_far = cx.cluster.nodes.values().filter(|node| has_open_bill(cx.cluster, node));
    let so_far: MicroUsd = so_far.map(|node| open_bill(cx.cluster, node, cx.now).1).sum();
    let most = cx.cluster.nodes.values().filter(|node| node.state.is_alive()).map(|node| {
        let from = node.launched_at.unwrap_or(node.wanted_at);
        let until = cx.cluster.may_live_until(node, cx.now);
        // A run without a limit may live for ever: its end is not counted as money.
        let until = if until.0 > cx.now.0.saturating_mul(2) { cx.now } else { until };
        node.price.unwrap_or_default().for_span(until.since(from))
    });
    most.sum::<MicroUsd>().saturating_sub(so_far) + cx.cluster.standing_this_month(cx.now).1
}

/// What is asked of the costs.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub by: CostBy,
    /// From this moment of the wall clock on.
    pub since_ms: i64,
    /// The rows of others too, for admins.
    pub all: bool,
    /// Jobs that are forgotten, and may have cost something since then.
    pub past: &'a [Job],
}

/// `GET /v1/cost`.
#[must_use]
pub fn view(cx: &Cx<'_>, asked: &Asked<'_>) -> CostView {
    let since = asked.since_ms;
    let mut book = Book::new(cx, asked);
    let (mut spans, mut open, mut estimated, mut unknown, mut boots) =
        (0u64, 0u64, 0u64, 0u64, 0u64);
    for span in cx.cluster.ledger.spans.values().filter(|span| cx.wall(span.ended_at) >= since) {
        spans += 1;
        estimated += u64::from(span.estimated);
        unknown += u64::from(span.price.is_none());
        boots += u64::from(span.launched_at.0 >= since);
        span.charges.iter().for_each(|charge| book.charge(&span.pool, charge));
    }
    for node in cx.cluster.nodes.values().filter(|node| has_open_bill(cx.cluster, node)) {
        (spans, open) = (spans + 1, open + 1);
        unknown += u64::from(node.price.is_none());
        boots += u64::from(node.launched_at.is_some_and(|at| at.0 >= since));
        let (charges, _) = open_bill(cx.cluster, node, cx.now);
        charges.iter().for_each(|charge| book.charge(&node.offering.pool, charge));
    }
    let jobs = book.use_of_jobs();
    if asked.by == CostBy::Day {
        book.standing_days();
    }
    let standing = standing::lines(cx, midnight(book.first_day, cx.zone_offset_ms()));
    let of_kind = |kind: &str| -> i64 {
        standing.iter().filter(|line| line.kind == kind).map(|line| line.cost_micro_usd).sum()
    };
    let (head, storage, nodes) = (of_kind("head"), of_kind("storage"), book.sums.total().0);
    let metered = metered(cx, since);
    CostView {
        schema: schema("cost"),
        cluster: cx.cluster.config().map_or_else(String::new, |config| config.name.clone()),
        since_ms: since,
        now_ms: cx.wall_now(),
        buckets: CostBuckets {
            job_micro_usd: book.sums.job.0,
            boot_micro_usd: book.sums.boot.0,
            idle_busy_micro_usd: book.sums.idle_busy.0,
            idle_empty_micro_usd: book.sums.idle_empty.0,
            drain_micro_usd: book.sums.drain.0,
        },
        jobs,
        boots,
        spans,
        open_spans: open,
        estimated_spans: estimated,
        nodes_micro_usd: nodes,
        provider_micro_usd: metered.filter(|_| open == 0).map(|sum| sum.0),
        unknown_prices: unknown,
        head_micro_usd: head,
        storage_micro_usd: storage,
        standing,
        total_micro_usd: nodes + head + storage,
        budget_micro_usd: cx
            .cluster
            .config()
            .and_then(|config| config.budget.month)
            .map(|cap| cap.0),
        committed_micro_usd: committed(cx).0,
        by: book.rows(),
    }
}

/// What the closed spans cost by the provider's own start and end times; `None` when it did not
/// tell those of every span (it forgets them some time after the end).
fn metered(cx: &Cx<'_>, since: i64) -> Option<MicroUsd> {
    let spans = cx.cluster.ledger.spans.values().filter(|span| cx.wall(span.ended_at) >= since);
    spans
        .map(|span| {
            let (launched_at, ended_at) = cx.cluster.volatile.metered.get(&span.node)?;
            let minimum =
                cx.cluster.pool(&span.pool).map(|pool| pool.minimum_billing_ms).unwrap_or_default();
            let billed = ended_at.since(*launched_at).max(minimum);
            Some(span.price.unwrap_or_default().for_span(billed))
        })
        .sum()
}

struct Book<'a> {
    cx: &'a Cx<'a>,
    by: CostBy,
    since_ms: i64,
    first_day: i32,
    all: bool,
    past: BTreeMap<JobId, &'a Job>,
    sums: Sums,
    rows: BTreeMap<String, Row>,
}

impl<'a> Book<'a> {
    fn new(cx: &'a Cx<'a>, asked: &Asked<'a>) -> Self {
        let Asked { by, since_ms, all, past } = *asked;
        let first_day = day_of(Timestamp(since_ms), cx.zone_offset_ms());
        let past = past.iter().map(|job| (job.id, job)).collect();
        let (sums, rows) = (Sums::default(), BTreeMap::new());
        Self { cx, by, since_ms, first_day, all, past, sums, rows }
    }

    fn job(&self, id: JobId) -> Option<&'a Job> {
        self.cx.cluster.jobs.get(&id).or_else(|| self.past.get(&id).copied())
    }

    fn charge(&mut self, pool: &PoolName, charge: &Charge) {
        let Charge(day, bucket, amount) = *charge;
        if day < self.first_day {
            return;
        }
        self.sums.add(bucket, amount);
        let Bucket::Job(id) = bucket else { return };
        let job = self.job(id);
        if !self.shown(job) {
            return;
        }
        let row = self.rows.entry(self.key(job, id, pool, day)).or_default();
        row.cost += amount;
        row.jobs.insert(id);
    }

    fn shown(&self, job: Option<&Job>) -> bool {
        match job {
            Some(job) => (self.all && self.cx.reader.admin) || job.owner.uid == self.cx.reader.uid,
            None => self.all && self.cx.reader.admin,
        }
    }

    fn key(&self, job: Option<&Job>, id: JobId, pool: &PoolName, day: i32) -> String {
        let known = |text: &dyn Fn(&Job) -> String| job.map_or_else(|| "-".to_owned(), text);
        match self.by {
            CostBy::User => known(&|job| job.owner.user.to_string()),
            CostBy::Account => known(&|job| match job.spec.account.as_str() {
                "" => "-".to_owned(),
                account => account.to_owned(),
            }),
            CostBy::Job => id.to_string(),
            CostBy::Pool => pool.to_string(),
            CostBy::Day => super::words::date(day),
        }
    }

    fn standing_days(&mut self) {
        for (day, sum) in standing::by_day(self.cx, self.first_day) {
            self.rows.entry(super::words::date(day)).or_default().standing = sum;
        }
    }

    /// Adds what runs held and used; returns how many jobs had a run in the time.
    fn use_of_jobs(&mut self) -> u64 {
        let mut count = 0;
        let known = &self.cx.cluster.jobs;
        let past: Vec<&Job> = self.past.values().copied().collect();
        let past = past.into_iter().filter(|job| !known.contains_key(&job.id));
        for job in known.values().chain(past) {
            let mut any = !job.live.is_empty();
            for run in job.runs_over().filter(|run| self.cx.wall(run.ended_at) >= self.since_ms) {
                any = true;
                if !self.shown(Some(job)) {
                    continue;
                }
                let day = day_of(Timestamp(self.cx.wall(run.ended_at)), self.cx.zone_offset_ms());
                let row = self.rows.entry(self.key(Some(job), job.id, &job.pool, day)).or_default();
                let span = u128::from(run.ended_at.since(run.placed_at).0);
                row.jobs.insert(job.id);
                row.cpu_held += u128::from(run.cpus) * span;
                row.cpu_used += u128::from(run.usage.user_cpu_ms + run.usage.system_cpu_ms);
                row.memory_held += u128::from(run.memory_bytes) * span;
                row.memory_used += u128::from(run.usage.max_rss_bytes) * span;
            }
            count += u64::from(any);
        }
        count
    }

    /// The rows, dearest first; days in order.
    fn rows(self) -> Vec<CostRow> {
        let percent = |used: u128, held: u128| {
            (held > 0).then(|| u32::try_from((used * 100 + held / 2) / held).unwrap_or(u32::MAX))
        };
        let by = self.by;
        let rows = self.rows.into_iter().map(|(key, row)| CostRow {
            key,
            jobs: row.jobs.len() as u64,
            cpu_hours_milli: u64::try_from(row.cpu_held / 3600).unwrap_or(u64::MAX),
            cost_micro_usd: row.cost.0,
            used_cpu_percent: percent(row.cpu_used, row.cpu_held),
            used_memory_percent: percent(row.memory_used, row.memory_held),
            standing_micro_usd: row.standing.0,
        });
        let mut rows: Vec<CostRow> = rows.collect();
        if by != CostBy::Day {
            rows.sort_by_key(|row| core::cmp::Reverse((row.cost_micro_usd, row.cpu_hours_milli)));
        }
        rows
    }
}
