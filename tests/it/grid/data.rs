//! The actions and the faults, as data.

/// What a program does when the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Saves a small tree: one request publishes it.
    SaveSmall,
    /// Saves a tree of several parts.
    SaveLarge,
    /// Saves a delta on what the job has restored.
    SaveDelta,
    /// Saves a pinned entry of several parts, where tags come after the object.
    SavePinned,
    /// Restores an entry of several parts.
    RestoreLarge,
    /// Restores a delta and what it builds on.
    RestoreDelta,
    /// Restores by a prefix.
    RestorePrefix,
    /// Deletes everything.
    Remove,
}

/// A request of a flow.
pub(super) struct Action {
    /// What it is, in the document.
    pub(super) name: &'static str,
    pub(super) flow: Flow,
    /// Method and regular expression of the target, for `s3-fault`.
    pub(super) request: &'static str,
}

const fn action(name: &'static str, flow: Flow, request: &'static str) -> Action {
    Action { name, flow, request }
}

/// In the order of a save, a restore, and a clean-up.
pub(super) const ACTIONS: &[Action] = &[
    action("save: read what the store honours", Flow::SaveSmall, "GET /\\.xcache/store"),
    action("save: look whether the key is taken (HEAD)", Flow::SaveSmall, "HEAD /fresh"),
    action("save: publish in one request (PutObject)", Flow::SaveSmall, "PUT /fresh"),
    action("save: begin an upload (CreateMultipartUpload)", Flow::SaveLarge, "POST uploads"),
    action("save: send a part (UploadPart)", Flow::SaveLarge, "PUT partNumber"),
    action("save: publish the parts (CompleteMultipartUpload)", Flow::SaveLarge, "POST uploadId"),
    action("save: give the object its tags (PutObjectTagging)", Flow::SavePinned, "PUT tagging"),
    action("save of a delta: note the refs (intent)", Flow::SaveDelta, "PUT /intents/"),
    action("save of a delta: read the marks (LIST)", Flow::SaveDelta, "GET list-type.*condemned"),
    action("save of a delta: look at the refs (HEAD)", Flow::SaveDelta, "HEAD /old-base"),
    action("save of a delta: is the note still there (HEAD)", Flow::SaveDelta, "HEAD /intents/"),
    action("save of a delta: take the note away (DELETE)", Flow::SaveDelta, "DELETE /intents/"),
    action("restore: read the end of the object", Flow::RestoreLarge, "GET /large-base"),
    action("restore: read a part of its data", Flow::RestoreLarge, "GET /large-base@1"),
    action("restore: read what a delta builds on", Flow::RestoreDelta, "GET /old-base"),
    action("restore by prefix: list (LIST)", Flow::RestorePrefix, "GET list-type"),
    action("clean-up: write its mark (PUT)", Flow::Remove, "PUT /\\.xcache/gc/"),
    action("clean-up: list (LIST)", Flow::Remove, "GET list-type"),
    action("clean-up: read the end of a delta", Flow::Remove, "GET /old-new-delta"),
    action("clean-up: condemn (PUT)", Flow::Remove, "PUT condemned"),
    action("clean-up: delete (DELETE)", Flow::Remove, "DELETE /old-"),
];

/// A fault: what it is in the document, and the action of `s3-fault`.
pub(super) struct Fault {
    pub(super) name: &'static str,
    pub(super) rule: &'static str,
    /// It is a matter of waiting: left out of the sample.
    pub(super) is_slow: bool,
}

const fn fault(name: &'static str, rule: &'static str) -> Fault {
    Fault { name, rule, is_slow: false }
}

const fn slow(name: &'static str, rule: &'static str) -> Fault {
    Fault { name, rule, is_slow: true }
}

pub(super) const FAULTS: &[Fault] = &[
    fault("connection closed before an answer", "connect-reset"),
    fault("connection reset within the answer", "reset:100"),
    fault("connection reset within the request", "up-reset:100"),
    slow("silence", "hold"),
    slow("one byte a second", "slow:1"),
    fault("429", "status:429"),
    fault("500", "status:500"),
    fault("502", "status:502"),
    fault("503", "status:503"),
    fault("301 without a way", "error:301-PermanentRedirect"),
    fault("403 access denied", "status:403"),
    fault("403 token expired", "error:403-ExpiredToken"),
    fault("403 clock skewed", "error:403-RequestTimeTooSkewed"),
    fault("404", "status:404"),
    fault("412", "status:412"),
    fault("body too short, length right", "short:60"),
    fault("body ends early", "cut:60"),
    fault("one bit of the body flipped", "flip:50"),
    fault("another ETag", "etag:other"),
    fault("a web page", "nonsense:200"),
    fault("200 with an error inside", "error:200-InternalError"),
    fault("carried out, answer lost", "drop-reply"),
];
