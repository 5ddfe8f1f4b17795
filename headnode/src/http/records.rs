//! Jobs as records, pools, and where a job runs: what faces of other schedulers are made from.
use super::extract::Asked;
use super::jobs::{find_job, newest};
use super::problem::{Failure, broken};
use super::target;
use crate::app::AppState;
use crate::limits;
use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use pcluster_api::{AllocationView, JobRecord, PoolList, Problem, RecordList, RecordsQuery};
use pcluster_core::input::Principal;
use pcluster_core::{Cluster, Job};
use pcluster_views::records::{Filter, Pages};
use pcluster_views::{self as views, Cx, allocation, pools};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// The ids of a query that mean something here, and the words of those that do not.
fn known_ids(cluster: &Cluster, text: &str) -> Result<(Filter, Vec<String>), Problem> {
    let (mut ids, mut unknown) = (Vec::new(), Vec::new());
    for (word, asked) in target::words(text).zip(target::jobs(text)?) {
        let target = target::resolved(cluster, asked);
        let there = cluster.jobs.get(&target.job).is_some_and(|job| {
            let all = Job::all_indices(&job.spec);
            target.tasks.as_ref().is_none_or(|tasks| job.is_array() && tasks.meets(&all))
        });
        if there {
            ids.push((target.job, target.tasks));
        } else {
            unknown.push(word.to_owned());
        }
    }
    Ok((Filter { ids: Some(ids), ..Filter::default() }, unknown))
}

#[utoipa::path(get, path = "/v1/records", tag = "jobs", params(RecordsQuery),
    responses((status = 200, body = RecordList), (status = "4XX", body = Problem)))]
pub(super) async fn records(
    State(app): State<AppState>,
    Extension(reader): Extension<Principal>,
    Asked(query): Asked<RecordsQuery>,
) -> Result<Response, Failure> {
    let words = |text: &Option<String>| -> Option<BTreeSet<String>> {
        text.as_ref().map(|text| text.split(',').map(str::to_owned).collect())
    };
    let (head, pages) = {
        let cluster = app.mirror.read();
        let (chosen, unknown) = match &query.ids {
            Some(ids) => known_ids(&cluster, ids)?,
            None => (Filter::default(), Vec::new()),
        };
        let users = words(&query.users);
        let filter = Filter {
            users: users.map(|users| users.into_iter().map(Into::into).collect()),
            names: words(&query.names),
            ended_since_ms: query.ended_since_ms,
            ended: query.ended,
            attempts: query.attempts,
            steps: query.steps,
            ..chosen
        };
        let cx = Cx { cluster: &cluster, now: app.clock.now(), reader: &reader };
        let head = RecordList {
            schema: views::schema("records"),
            cluster: cluster.config().map(|config| config.name.clone()).unwrap_or_default(),
            now_ms: cx.wall_now(),
            records: Vec::new(),
            unknown,
        };
        (head, Pages::new(&cx, filter))
    };
    let text = serde_json::to_string(&head).map_err(|error| broken("tell records", &error))?;
    let (before, after) = text.split_once(NO_RECORDS).unwrap_or((&text, ""));
    let before = format!("{before}{}", NO_RECORDS.trim_end_matches(']'));
    let after = Some(format!("]{after}"));
    let telling = Telling { app, reader, pages, groups: BTreeMap::new(), before, after };
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, Body::from_stream(stream::unfold(telling, Telling::next))).into_response())
}

/// Where the records stand in an answer without any.
const NO_RECORDS: &str = "\"records\":[]";

/// An answer that leaves some records at a time: neither memory nor the cluster is held for all.
struct Telling {
    app: AppState,
    reader: Principal,
    pages: Pages,
    groups: BTreeMap<u32, Option<String>>,
    /// What comes before the next record.
    before: String,
    /// The end of the answer; `None` once it has left.
    after: Option<String>,
}

impl Telling {
    async fn next(mut self) -> Option<(Result<String, serde_json::Error>, Self)> {
        let after = self.after.take()?;
        let pages = &mut self.pages;
        let mut records = self.app.seen(&self.reader, |cx| pages.next(cx, limits::RECORDS_AT_ONCE));
        let mut text = std::mem::take(&mut self.before);
        if records.is_empty() {
            text = if text == "," { after } else { text + &after };
            return Some((Ok(text), self));
        }
        for (at, record) in records.iter_mut().enumerate() {
            self.name_group(record).await;
            text.push_str(if at > 0 { "," } else { "" });
            match serde_json::to_string(record) {
                Ok(record) => text.push_str(&record),
                Err(error) => return Some((Err(error), self)),
            }
        }
        (self.before, self.after) = (",".into(), Some(after));
        Some((Ok(text), self))
    }

    async fn name_group(&mut self, record: &mut JobRecord) {
        if let Entry::Vacant(place) = self.groups.entry(record.gid) {
            place.insert(self.app.people.group_name(record.gid).await);
        }
        if let Some(Some(name)) = self.groups.get(&record.gid) {
            record.group.clone_from(name);
        }
    }
}

#[utoipa::path(get, path = "/v1/pools", tag = "nodes",
    responses((status = 200, body = PoolList), (status = "4XX", body = Problem)))]
pub(super) async fn pools(
    State(app): State<AppState>,
    Extension(reader): Extension<Principal>,
) -> Json<PoolList> {
    Json(app.seen(&reader, pools::list))
}

#[utoipa::path(get, path = "/v1/jobs/{id}/allocation", tag = "steps",
    params(("id" = String, Path, description = "`41`, `41_3` or `job:41`")),
    responses((status = 200, body = AllocationView), (status = "4XX", body = Problem)))]
pub(super) async fn allocation(
    State(app): State<AppState>,
    Extension(reader): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<AllocationView>, Failure> {
    let target = target::locate(&app.mirror.read(), &id)?;
    let job = find_job(&app, target.job).await?;
    let tasks = target.tasks.as_ref();
    Ok(Json(app.seen(&reader, |cx| allocation::of(cx, newest(cx, &job), tasks))?))
}
