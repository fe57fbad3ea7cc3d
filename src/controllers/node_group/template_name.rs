//! Resolves the name of a launch template to its id, before anything is created with it: the account's allowlist is of ids,
//! and whoever may create launch templates may give another one that name. I/O: EC2, through [`crate::aws`].

use std::borrow::Cow;

use super::Reconcile;
use crate::api::NodeGroupSpec;
use crate::api::status_cluster::NodeGroupStatus;
use crate::aws::snapshots::named::{Template, TemplateRef};
use crate::aws::{MaxStaleness, Session};
use crate::controllers::account::Grant;
use crate::controllers::account::allowlist::TEMPLATE_NAME;
use crate::controllers::reconcile_error::ValidateError;
use crate::engine::Failure;

impl Reconcile<'_> {
    /// Remembers the id, once the account allows it.
    pub(super) async fn resolve_template(
        &mut self,
        aws: &Session,
        grant: &Grant,
        previous: &NodeGroupStatus,
    ) -> Result<(), ValidateError> {
        self.state.kind.template_id = None;
        let template = self.object.spec.launch_template.as_ref();
        let Some(name) = template.and_then(|template| template.name.clone()) else { return Ok(()) };
        let exists = previous.arn.is_some();
        let drift = self.ctx.settings.intervals.drift;
        let staleness = if exists { MaxStaleness::within(drift) } else { MaxStaleness::now() };
        let read = aws.snapshots.launch_template(&TemplateRef::Name(name.clone()), "$Default", staleness).await;
        let found = read.map_err(|error| ValidateError::Aws(error.into()))?;
        let id = match &*found {
            Template::Found { id, .. } => Some(id.clone()),
            Template::Missing(_) => None,
        };
        if let Some(lists) = &grant.allowlists {
            lists.check_template_name(&name, id.as_deref()).map_err(ValidateError::Refused)?;
        }
        if let (Template::Missing(why), false) = (&*found, exists) {
            let why = format!("{TEMPLATE_NAME}: there is no launch template {name} in this account and region: {why}");
            return Err(ValidateError::Aws(Failure::invalid(why)));
        }
        self.state.kind.template_id = id;
        Ok(())
    }

    /// The spec with the id of the launch template that it names.
    pub(super) fn spec_with_template_id(&self) -> Cow<'_, NodeGroupSpec> {
        let spec = &self.object.spec;
        let Some(id) = &self.state.kind.template_id else { return Cow::Borrowed(spec) };
        let mut spec = spec.clone();
        if let Some(template) = spec.launch_template.as_mut().filter(|template| template.id.is_none()) {
            template.id = Some(id.clone());
        }
        Cow::Owned(spec)
    }
}
