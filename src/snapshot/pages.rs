//! Compiles a route's own pages: reads their files, each of them once for all routes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compile::Purpose;
use super::policies::SharedPolicies;
use crate::config::schema::pages as schema;
use crate::config::schema::route;
use crate::config::{Config, Finding, Spanned};
use crate::files;
use crate::policy::maintenance::Maintenance;
use crate::policy::pages::{ErrorPage, Pages};

/// Pages that have been read, and why others could not be.
pub(super) type PageFiles = HashMap<PathBuf, Result<ErrorPage, String>>;

/// Compiles `errors` and the page of `maintenance`; `None` without any.
///
/// # Errors
/// A file that cannot be used.
pub(super) fn compile_pages(
    written: &route::RouteConfig,
    shared: &mut SharedPolicies<'_>,
) -> Result<Option<Arc<Pages>>, Box<Finding>> {
    let mut errors = Vec::new();
    let schema::Errors { pages, intercept } = match &written.errors {
        Some(errors) => errors,
        None => &schema::Errors::default(),
    };
    for (range, file) in pages {
        errors.push((range.value.first, range.value.last, read_page(file, shared)?));
    }
    let file =
        written.policies.maintenance.as_ref().and_then(|maintenance| maintenance.page.as_ref());
    let maintenance = file.map(|file| read_page(file, shared)).transpose()?;
    let any = !errors.is_empty() || maintenance.is_some();
    Ok(any.then(|| Arc::new(Pages::new(errors, *intercept, maintenance))))
}

fn read_page(
    file: &Spanned<PathBuf>,
    shared: &mut SharedPolicies<'_>,
) -> Result<ErrorPage, Box<Finding>> {
    let read = match shared.purpose {
        Purpose::Check { files: false } => return Ok(ErrorPage::from([])),
        Purpose::Run | Purpose::Check { files: true } => {
            shared.pages.entry(file.value.clone()).or_insert_with(|| {
                files::read_bounded(&file.value, files::LARGEST).map(ErrorPage::from)
            })
        }
    };
    read.clone().map_err(|why| {
        let message = format!("the page {} cannot be used: {why}", file.value.display());
        Box::new(Finding::error("bad_file", file.place, message))
    })
}

/// Compiles `maintenance`.
pub(super) fn compile_maintenance(written: &schema::MaintenanceConfig) -> Maintenance {
    let schema::MaintenanceTable { page: _, except, retry_after } = &**written;
    let seconds = retry_after.get().as_millis().div_ceil(1000);
    Maintenance {
        except: except.iter().map(|network| network.value.0).collect(),
        retry_after: seconds.to_string().into(),
    }
}

/// The files of all pages, to be watched.
pub fn page_files(config: &Config) -> impl Iterator<Item = &Path> {
    config.route.iter().flat_map(|route| {
        let errors = route.errors.iter().flat_map(|errors| errors.pages.iter());
        let errors = errors.map(|(_, file)| file.value.as_path());
        let maintenance = route.policies.maintenance.iter().filter_map(|it| it.page.as_ref());
        errors.chain(maintenance.map(|file| file.value.as_path()))
    })
}
