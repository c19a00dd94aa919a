-- A ledger as the first release (0.1.0) made it, with some rows. It never changes.

CREATE TABLE destination (
    name TEXT NOT NULL,
    failures INTEGER NOT NULL,
    not_before DOUBLE PRECISION NOT NULL,
    paused BOOLEAN NOT NULL,
    reason TEXT,
    PRIMARY KEY (name)
);

CREATE TABLE instance (
    id TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    series_instance_uid TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    calling_ae_title TEXT NOT NULL,
    called_ae_title TEXT NOT NULL,
    peer_address TEXT NOT NULL,
    received_at DOUBLE PRECISION NOT NULL,
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    fingerprint TEXT,
    "conflict" BOOLEAN NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    deaths INTEGER NOT NULL,
    owner TEXT,
    lease_until DOUBLE PRECISION,
    not_before DOUBLE PRECISION NOT NULL,
    reason TEXT,
    updated_at DOUBLE PRECISION NOT NULL,
    policy TEXT,
    release_destinations JSON NOT NULL,
    redacted_file TEXT,
    redacted_size BIGINT,
    redacted_instance JSON,
    PRIMARY KEY (id),
    UNIQUE (fingerprint)
);

CREATE INDEX instance_claim ON instance (state, not_before);

CREATE INDEX instance_lease ON instance (state, lease_until);

CREATE INDEX instance_sop_instance_uid ON instance (sop_instance_uid);

CREATE TABLE delivery (
    instance_id TEXT NOT NULL,
    destination TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    deaths INTEGER NOT NULL,
    owner TEXT,
    lease_until DOUBLE PRECISION,
    not_before DOUBLE PRECISION NOT NULL,
    reason TEXT,
    updated_at DOUBLE PRECISION NOT NULL,
    failures INTEGER NOT NULL,
    status INTEGER,
    PRIMARY KEY (instance_id, destination),
    FOREIGN KEY(instance_id) REFERENCES instance (id)
);

CREATE INDEX delivery_claim ON delivery (destination, state, not_before);

CREATE INDEX delivery_lease ON delivery (state, lease_until);

INSERT INTO instance (
    id, sop_class_uid, sop_instance_uid, study_instance_uid, series_instance_uid, transfer_syntax_uid,
    calling_ae_title, called_ae_title, peer_address, received_at, sha256, size, fingerprint, "conflict", state,
    attempts, deaths, owner, lease_until, not_before, reason, updated_at, policy, release_destinations,
    redacted_file, redacted_size, redacted_instance
) VALUES (
    '00000000000000000000000000000001', '1.2.840.10008.5.1.4.1.1.2', '1.2.3.1', '1.2.3.4', '1.2.3.5', '1.2.840.10008.1.2.1',
    'CT1', 'NODE', '192.0.2.7', 1700000000.0, 'aa', 6000000000, 'f1', FALSE,
    'RECEIVED', 1, 1, 'machine:redact:7', 1700000020.0, 1700000000.0, NULL, 1700000001.0,
    'all-text', '["PACS"]', NULL, NULL, NULL
);

INSERT INTO instance (
    id, sop_class_uid, sop_instance_uid, study_instance_uid, series_instance_uid, transfer_syntax_uid,
    calling_ae_title, called_ae_title, peer_address, received_at, sha256, size, fingerprint, "conflict", state,
    attempts, deaths, owner, lease_until, not_before, reason, updated_at, policy, release_destinations,
    redacted_file, redacted_size, redacted_instance
) VALUES (
    '00000000000000000000000000000002', '1.2.840.10008.5.1.4.1.1.2', '1.2.3.2', '1.2.3.4', '1.2.3.5', '1.2.840.10008.1.2.1',
    'CT1', 'NODE', '192.0.2.7', 1700000000.0, 'bb', 7, 'f2', TRUE,
    'REDACTED', 2, 0, NULL, NULL, 1700000000.0, NULL, 1700000002.0,
    NULL, '[]', '00000000000000000000000000000002.2.dcm', 9,
    '{"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2", "sop_instance_uid": "1.2.3.2", "study_instance_uid": "1.2.3.4", "series_instance_uid": "1.2.3.5", "transfer_syntax_uid": "1.2.840.10008.1.2.1"}'
);

INSERT INTO delivery (
    instance_id, destination, state, attempts, deaths, owner, lease_until, not_before, reason, updated_at,
    failures, status
) VALUES (
    '00000000000000000000000000000002', 'PACS', 'SENT', 1, 0, NULL, NULL, 1700000000.0, NULL, 1700000003.0, 0, 45056
);

INSERT INTO delivery (
    instance_id, destination, state, attempts, deaths, owner, lease_until, not_before, reason, updated_at,
    failures, status
) VALUES (
    '00000000000000000000000000000002', 'RESEARCH', 'REDACTED', 3, 0, NULL, NULL, 1700000000.0, 'refused', 1700000003.0, 2, NULL
);

INSERT INTO destination (
    name, failures, not_before, paused, reason
) VALUES ('RESEARCH', 2, 0.0, TRUE, 'connection refused');
