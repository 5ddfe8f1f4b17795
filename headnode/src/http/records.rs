//! Jobs as records, pools, and where a job runs: what faces of other schedulers are made from.
use super::extract::Asked;
use super::jobs::find_job;
use super::problem::Failure;
use super::target;
use crate::app::AppState;
use crate::views::records::{self, Filter};
use crate::views::{self, Cx, allocation, pools};
use axum::Json;
use axum::extract::{Extension, Path, State};
use pcluster_api::{AllocationView, PoolList, Problem, RecordList, RecordsQuery};
use pcluster_core::input::Principal;
use pcluster_core::{Cluster, Job};
use std::collections::{BTreeMap, BTreeSet};

/// The ids of a query that mean something here, and the words of those that do not.
fn known_ids(cluster: &Cluster, text: &str) -> Result<(Filter, Vec<String>), Problem> {
    let (mut ids, mut unknown) = (Vec::new(), Vec::new());
    for (word, asked) in target::words(text).zip(target::jobs(text)?) {
        let target = target::resolved(cluster, asked);
        let there = cluster.jobs.get(&target.job).is_some_and(|job| {
            let all = Job::all_indices(&job.spec);
            target
                .tasks
                .as_ref()
                .is_none_or(|tasks| job.is_array() && tasks.iter().any(|task| all.contains(task)))
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
) -> Result<Json<RecordList>, Failure> {
    let words = |text: &Option<String>| -> Option<BTreeSet<String>> {
        text.as_ref().map(|text| text.split(',').map(str::to_owned).collect())
    };
    let mut list = {
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
        RecordList {
            schema: views::schema("records"),
            cluster: cluster.config().map(|config| config.name.clone()).unwrap_or_default(),
            now_ms: cx.wall_now(),
            records: records::list(&cx, &filter),
            unknown,
        }
    };
    let gids: BTreeSet<u32> = list.records.iter().map(|record| record.gid).collect();
    let mut groups = BTreeMap::new();
    for gid in gids {
        groups.insert(gid, app.people.group_name(gid).await);
    }
    for record in &mut list.records {
        if let Some(Some(name)) = groups.get(&record.gid) {
            record.group.clone_from(name);
        }
    }
    Ok(Json(list))
}

#[utoipa::path(get, path = "/v1/pools", tag = "nodes",
    responses((status = 200, body = PoolList), (status = "4XX", body = Problem)))]
pub(super) async fn pools(
    State(app): State<AppState>,
    Extension(reader): Extension<Principal>,
) -> Json<PoolList> {
    let cluster = app.mirror.read();
    Json(pools::list(&Cx { cluster: &cluster, now: app.clock.now(), reader: &reader }))
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
    let cluster = app.mirror.read();
    let cx = Cx { cluster: &cluster, now: app.clock.now(), reader: &reader };
    let job = cluster.jobs.get(&job.id).unwrap_or(&job);
    Ok(Json(allocation::of(&cx, job, target.tasks.as_ref())?))
}
