//! What profiles in `~/.aws/config` name instead of keys: a role that another profile may take, and a session of
//! single sign-on.
//!
//! Invariant: a profile that names such a thing and cannot have it is an error, and nobody else is taken. The format:
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html> and
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-sso-credentials.html>. Deliberately absent: asking for the
//! code of a second factor.
use ini::Ini;
use reqsign_aws_v4::{
    AssumeRoleCredentialProvider, Credential, EnvCredentialProvider, IMDSv2CredentialProvider,
    ProcessCredentialProvider, ProfileCredentialProvider, RequestSigner, SSOCredentialProvider,
};
use reqsign_core::{Context, Error, ProvideCredential, ProvideCredentialChain, Result, Signer};

/// Roles that lead to roles, at most.
const DEEPEST: usize = 5;

/// The files of AWS's tools, and which profile is meant.
struct Profiles {
    config: Option<Ini>,
    name: String,
}

impl Profiles {
    async fn read(context: &Context) -> Result<Self> {
        let set = |name: &str| context.env_var(name).filter(|value| !value.is_empty());
        let path = set("AWS_CONFIG_FILE").unwrap_or_else(|| "~/.aws/config".into());
        let path = context.expand_home_dir(&path).unwrap_or(path);
        // A file that is not there has no profile.
        let text = context.file_read(&path).await.ok();
        let config = match text {
            Some(text) => {
                let read = Ini::load_from_str_noescape(&String::from_utf8_lossy(&text));
                Some(read.map_err(|error| Error::config_invalid(format!("{path}: {error}")))?)
            }
            None => None,
        };
        Ok(Self { config, name: set("AWS_PROFILE").unwrap_or_else(|| "default".into()) })
    }

    fn get(&self, profile: &str, key: &str) -> Option<&str> {
        let config = self.config.as_ref()?;
        let section = match profile {
            "default" => "default".to_owned(),
            other => format!("profile {other}"),
        };
        config.section(Some(section))?.get(key).filter(|value| !value.is_empty())
    }

    fn session(&self, name: &str, key: &str) -> Option<&str> {
        self.config.as_ref()?.section(Some(format!("sso-session {name}")))?.get(key)
    }

    fn needs(&self, profile: &str, key: &str) -> Result<&str> {
        let lacks = || Error::config_invalid(format!("profile {profile} has no {key}"));
        self.get(profile, key).ok_or_else(lacks)
    }
}

/// A profile with `role_arn`, and who may take that role.
#[derive(Debug)]
pub(super) struct RoleOfProfile {
    pub region: String,
}

impl ProvideCredential for RoleOfProfile {
    type Credential = Credential;

    async fn provide_credential(&self, context: &Context) -> Result<Option<Credential>> {
        let profiles = Profiles::read(context).await?;
        let mut chain = vec![profiles.name.clone()];
        // From the profile that is meant to the one whose keys are its own.
        while let Some(last) = chain.last().filter(|last| profiles.get(last, "role_arn").is_some())
        {
            if profiles.get(last, "web_identity_token_file").is_some() {
                break;
            }
            let Some(next) = profiles.get(last, "source_profile") else { break };
            if next == last.as_str() {
                break;
            }
            if chain.len() > DEEPEST || chain.iter().any(|name| name == next) {
                let words = format!("profile {next} leads back to itself by source_profile");
                return Err(Error::config_invalid(words));
            }
            chain.push(next.to_owned());
        }
        let own = |profile: &str| {
            profiles.get(profile, "role_arn").is_some()
                && profiles.get(profile, "web_identity_token_file").is_none()
        };
        if !own(&chain[0]) {
            return Ok(None);
        }
        let mut credential = source(context, &profiles, &chain).await?;
        for profile in chain.iter().rev().filter(|profile| own(profile)) {
            credential = self.taken(context, &profiles, profile, credential).await?;
        }
        Ok(Some(credential))
    }
}

/// The credentials that the first role is taken with.
async fn source(context: &Context, profiles: &Profiles, chain: &[String]) -> Result<Credential> {
    let last = chain.last().map_or("default", String::as_str);
    let takes_by_itself = profiles.get(last, "role_arn").is_some();
    let found = match profiles.get(last, "credential_source") {
        Some("Environment") => EnvCredentialProvider::new().provide_credential(context).await?,
        Some("Ec2InstanceMetadata") => {
            IMDSv2CredentialProvider::new().provide_credential(context).await?
        }
        Some(other) => {
            let words = format!("profile {last}: credential_source = {other} is not known here");
            return Err(Error::config_invalid(words));
        }
        None if takes_by_itself && profiles.get(last, "source_profile").is_none() => {
            profiles.needs(last, "source_profile")?;
            None
        }
        None => {
            let keys = ProfileCredentialProvider::new().with_profile(last);
            let sources = ProvideCredentialChain::new()
                .push(keys)
                .push(ProcessCredentialProvider::new().with_profile(last));
            match signed_on(context, profiles, last).await? {
                Some(credential) => Some(credential),
                None => sources.provide_credential(context).await?,
            }
        }
    };
    found.ok_or_else(|| Error::config_invalid(format!("profile {last} has no credentials")))
}

impl RoleOfProfile {
    async fn taken(
        &self,
        context: &Context,
        profiles: &Profiles,
        profile: &str,
        with: Credential,
    ) -> Result<Credential> {
        if profiles.get(profile, "mfa_serial").is_some() {
            let words = format!(
                "profile {profile} wants the code of a second factor (mfa_serial), which nobody is here to type: \
                 credential_process = aws configure export-credentials --profile {profile} --format process"
            );
            return Err(Error::config_invalid(words));
        }
        let known = Known(with);
        let signer = Signer::new(context.clone(), known, RequestSigner::new("sts", &self.region));
        let arn = profiles.needs(profile, "role_arn")?.to_owned();
        let mut role = AssumeRoleCredentialProvider::new(arn, signer)
            .with_role_session_name(
                profiles.get(profile, "role_session_name").unwrap_or("pcluster").to_owned(),
            )
            .with_region(self.region.clone())
            .with_regional_sts_endpoint();
        if let Some(id) = profiles.get(profile, "external_id") {
            role = role.with_external_id(id.to_owned());
        }
        let found = role.provide_credential(context).await?;
        found.ok_or_else(|| Error::config_invalid(format!("profile {profile}: no answer of STS")))
    }
}

/// Credentials that are there.
#[derive(Debug)]
struct Known(Credential);

impl ProvideCredential for Known {
    type Credential = Credential;

    async fn provide_credential(&self, _: &Context) -> Result<Option<Credential>> {
        Ok(Some(self.0.clone()))
    }
}

/// A profile with `sso_session`.
#[derive(Debug)]
pub(super) struct SignOnSession;

impl ProvideCredential for SignOnSession {
    type Credential = Credential;

    async fn provide_credential(&self, context: &Context) -> Result<Option<Credential>> {
        let profiles = Profiles::read(context).await?;
        let name = profiles.name.clone();
        signed_on(context, &profiles, &name).await
    }
}

async fn signed_on(
    context: &Context,
    profiles: &Profiles,
    profile: &str,
) -> Result<Option<Credential>> {
    let Some(session) = profiles.get(profile, "sso_session") else { return Ok(None) };
    let region = profiles.session(session, "sso_region").ok_or_else(|| {
        Error::config_invalid(format!("there is no sso_region in [sso-session {session}]"))
    })?;
    let provider = SSOCredentialProvider::new()
        .with_account_id(profiles.needs(profile, "sso_account_id")?)
        .with_role_name(profiles.needs(profile, "sso_role_name")?)
        .with_region(region)
        // It is asked for nothing but the name of the token's file, which a session gives by its own name.
        .with_start_url(session);
    provider.provide_credential(context).await
}
