BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('f460b0348206');
CREATE TABLE api_tokens (
	user_id INTEGER, 
	service_id INTEGER, 
	id INTEGER NOT NULL, 
	hashed VARCHAR(255), 
	prefix VARCHAR(16), 
	client_id VARCHAR(255), 
	session_id VARCHAR(255), 
	created DATETIME, 
	expires_at DATETIME, 
	last_activity DATETIME, 
	note VARCHAR(1023), 
	scopes TEXT, 
	CONSTRAINT pk_api_tokens PRIMARY KEY (id), 
	CONSTRAINT fk_api_tokens_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_api_tokens_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE, 
	CONSTRAINT uq_api_tokens_hashed UNIQUE (hashed), 
	CONSTRAINT fk_api_tokens_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE
);
INSERT INTO "api_tokens" VALUES(NULL,1,1,'sha512:16384:e1ed4929a3b7fe05:c2864c6f3b200bbc960c63ffb7c81accc8541d88ce1edac9fd49e0d8001da690ba0fe50479fcfe1ba516ba307ee0b677720d475fcbded89c20a8c74c7b4bda4b','the-','jupyterhub',NULL,'2026-11-20 12:45:47.995016',NULL,'2026-11-20 12:45:48.156119','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,2,2,'sha512:16384:e7898b45dd979442:ec6df31cb8f31f9e58cfd8adce1890b850881d3e8263ba34531e0b021b53ca062494a58c1624fd9cedc20b3f0e103c3ded8cfd68f0aeea83c20cb16a5a69e90c','the-','jupyterhub',NULL,'2026-11-20 12:45:48.018645',NULL,NULL,'from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(2,NULL,3,'sha512:16384:83bef716ece1fa79:89b26952ae3a83fee76caf2c868a5f9ca5449bf0318664cff571b3ea016b59aa54f2ad2a164faeabc0b0a58cfb542c0b57bf2f7693f8e5cbc5a06281c69ff61f','the-','jupyterhub',NULL,'2026-11-20 12:45:48.045798',NULL,NULL,'from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(2,NULL,4,'sha512:1:d8202a734423cd41:080c7411b5a6267b33eac8010f9407459dadd36a5b50d9953bd1f3056be6f0b49a2a0beb33655474f8dcf4435ad4d95aff5c8f35e5e9bae97b044a87a419284e','924f','jupyterhub',NULL,'2026-11-20 12:45:48.407888',NULL,NULL,'Server at /user/ada/','["users:activity!user", "access:servers!server=ada/"]');
INSERT INTO "api_tokens" VALUES(3,NULL,5,'sha512:1:153b4d37643b589e:0c8bfaecd43d1ab6d6cec89f218f05710e4d76449c9636f51b2224b2bc53ab2b4a6c9a1378668e5198c27ae9dcc09b7ca2c34fe5492559b466f8818c73a1e363','92ed','jupyterhub',NULL,'2026-11-20 12:45:48.742444',NULL,NULL,'Server at /user/grace/gpu/','["users:activity!user", "access:servers!server=grace/gpu"]');
INSERT INTO "api_tokens" VALUES(2,NULL,6,'sha512:1:d20f27480a33f091:7d14401a408e1630af180ee9b66bc861f1e1d7f4e6aadddc3f4839b1362b6376144f115ca77e52db2d06315eb6911455b7d0bf8a9c4f45039765f7511c369a19','5135','jupyterhub',NULL,'2026-11-20 12:45:49.408796',NULL,NULL,'a script','["read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(2,NULL,7,'sha512:1:e4a3b1d5eb731cdc:9795463a14b164ab5bf1c39eddf5abc08d47cb4a9ba2ab44b410dd7f463c6b982f73f51f9be5ea186a8eda1b00c6c01b55fb7f20755b908b8c16840a40ce6af9','472d','jupyterhub',NULL,'2026-11-20 12:45:49.439583','2026-11-20 12:45:50.438926',NULL,'over','["inherit"]');
CREATE TABLE group_role_map (
	group_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	managed_by_auth BOOLEAN NOT NULL, 
	CONSTRAINT pk_group_role_map PRIMARY KEY (group_id, role_id), 
	CONSTRAINT fk_group_role_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE, 
	CONSTRAINT fk_group_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "group_role_map" VALUES(1,5,0);
CREATE TABLE groups (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	properties TEXT, 
	CONSTRAINT pk_groups PRIMARY KEY (id), 
	CONSTRAINT uq_groups_name UNIQUE (name)
);
INSERT INTO "groups" VALUES(1,'physics','{"quota": 3}');
INSERT INTO "groups" VALUES(2,'empty','{}');
CREATE TABLE oauth_clients (
	id INTEGER NOT NULL, 
	identifier VARCHAR(255), 
	description VARCHAR(1023), 
	secret VARCHAR(255), 
	redirect_uri VARCHAR(1023), 
	allowed_scopes TEXT, 
	CONSTRAINT pk_oauth_clients PRIMARY KEY (id), 
	CONSTRAINT uq_oauth_clients_identifier UNIQUE (identifier)
);
INSERT INTO "oauth_clients" VALUES(1,'jupyterhub','JupyterHub','','','[]');
INSERT INTO "oauth_clients" VALUES(2,'service-wiki','JupyterHub service wiki','sha512:16384:966e27c70b7ed1a2:c4273bed42d228cedb13b66658218d0c8d2d5fccae7d15e48dd292e6523d044f8fc4ef29dc7b4c35f126c82d5963939427364a1f01117887a030170aba9a75d2','http://127.0.0.1:9/callback','["access:services!service=wiki"]');
INSERT INTO "oauth_clients" VALUES(3,'jupyterhub-user-ada','Server at /user/ada/','sha512:16384:4bda49ac17b9f7f0:4f48db79f35a01110a4d01b2f7a7826a0f167fef757f6a5d16f03a8cafa3716abc68f408ad7b9b9e09ba7552bc7280b1b5e69d73fbab5e70c2758e8812c6b1d5','/user/ada/oauth_callback','["access:servers!server=ada/"]');
INSERT INTO "oauth_clients" VALUES(4,'jupyterhub-user-grace-gpu','Server at /user/grace/gpu/','sha512:16384:52bfa93aedf16471:be32d478ea85afb54ca07d1a9771d3cf5ae4fc6748c444b2caa83f70b54c95d400f03782792d506f5e6d6432f32952e50f77ae87e12e5fce37263f216d225ae2','/user/grace/gpu/oauth_callback','["access:servers!server=grace/gpu"]');
CREATE TABLE oauth_codes (
	id INTEGER NOT NULL, 
	client_id VARCHAR(255), 
	code VARCHAR(36), 
	expires_at INTEGER, 
	redirect_uri VARCHAR(1023), 
	session_id VARCHAR(255), 
	user_id INTEGER, 
	scopes TEXT, 
	code_challenge VARCHAR(255), 
	code_challenge_method VARCHAR(64), 
	CONSTRAINT pk_oauth_codes PRIMARY KEY (id), 
	CONSTRAINT fk_oauth_codes_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE, 
	CONSTRAINT fk_oauth_codes_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE roles (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	description VARCHAR(1023), 
	scopes TEXT, 
	managed_by_auth BOOLEAN NOT NULL, 
	CONSTRAINT pk_roles PRIMARY KEY (id), 
	CONSTRAINT uq_roles_name UNIQUE (name)
);
INSERT INTO "roles" VALUES(1,'server','Post activity only','["users:activity!user", "access:servers!server"]',0);
INSERT INTO "roles" VALUES(2,'token','Token with same permissions as its owner','["inherit"]',0);
INSERT INTO "roles" VALUES(3,'admin','Elevated privileges (can do anything)','["admin-ui", "admin:users", "admin:servers", "admin:services", "tokens", "admin:groups", "list:services", "read:services", "read:hub", "proxy", "shutdown", "access:services", "access:servers", "read:roles", "read:metrics", "shares"]',0);
INSERT INTO "roles" VALUES(4,'user','Standard user privileges','["self", "shares!user"]',0);
INSERT INTO "roles" VALUES(5,'readers','See names','["list:users", "read:users:name"]',0);
CREATE TABLE servers (
	id INTEGER NOT NULL, 
	proto VARCHAR(15), 
	ip VARCHAR(255), 
	port INTEGER, 
	base_url VARCHAR(255), 
	cookie_name VARCHAR(255), 
	CONSTRAINT pk_servers PRIMARY KEY (id)
);
INSERT INTO "servers" VALUES(1,'http','127.0.0.1',54669,'/user/ada/','cookie');
INSERT INTO "servers" VALUES(2,'http','127.0.0.1',39141,'/user/grace/gpu/','cookie');
CREATE TABLE service_role_map (
	service_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	managed_by_auth BOOLEAN NOT NULL, 
	CONSTRAINT pk_service_role_map PRIMARY KEY (service_id, role_id), 
	CONSTRAINT fk_service_role_map_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE, 
	CONSTRAINT fk_service_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "service_role_map" VALUES(1,3,0);
INSERT INTO "service_role_map" VALUES(2,5,0);
CREATE TABLE services (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	admin BOOLEAN, 
	url VARCHAR(2047), 
	oauth_client_allowed_scopes TEXT, 
	info TEXT, 
	display BOOLEAN, 
	oauth_no_confirm BOOLEAN, 
	command TEXT, 
	cwd VARCHAR(4095), 
	environment TEXT, 
	user VARCHAR(255), 
	timeout INTEGER NOT NULL, 
	from_config BOOLEAN, 
	_server_id INTEGER, 
	pid INTEGER, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_services PRIMARY KEY (id), 
	CONSTRAINT uq_services_name UNIQUE (name), 
	CONSTRAINT fk_services__server_id_servers FOREIGN KEY(_server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_services_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "services" VALUES(1,'setup',1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,30,1,NULL,NULL,NULL);
INSERT INTO "services" VALUES(2,'wiki',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,30,1,NULL,NULL,'service-wiki');
CREATE TABLE share_codes (
	hashed VARCHAR(255), 
	prefix VARCHAR(16), 
	exchange_count INTEGER, 
	last_exchanged_at DATETIME, 
	id INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	scopes TEXT, 
	expires_at DATETIME, 
	owner_id INTEGER, 
	spawner_id INTEGER, 
	CONSTRAINT pk_share_codes PRIMARY KEY (id), 
	CONSTRAINT uq_share_codes_hashed UNIQUE (hashed), 
	CONSTRAINT fk_share_codes_owner_id_users FOREIGN KEY(owner_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_share_codes_spawner_id_spawners FOREIGN KEY(spawner_id) REFERENCES spawners (id) ON DELETE CASCADE
);
INSERT INTO "share_codes" VALUES('sha512:1:79f652e2ce56ca12:fe62b2a2ecd09bd3c8e20eccf11a04237b84441efaf355ecefd736a8921471290b9c232ef97793c7709cbc3064bab44b60caf28061be912f4d3b52bd7987a589','AKSs',0,NULL,1,'2026-11-20 12:45:49.558514','["access:servers!server=ada/"]','2027-11-20 12:45:49.557177',2,1);
CREATE TABLE shares (
	user_id INTEGER, 
	group_id INTEGER, 
	id INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	scopes TEXT, 
	expires_at DATETIME, 
	owner_id INTEGER, 
	spawner_id INTEGER, 
	CONSTRAINT pk_shares PRIMARY KEY (id), 
	CONSTRAINT fk_shares_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_shares_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE, 
	CONSTRAINT fk_shares_owner_id_users FOREIGN KEY(owner_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_shares_spawner_id_spawners FOREIGN KEY(spawner_id) REFERENCES spawners (id) ON DELETE CASCADE
);
INSERT INTO "shares" VALUES(3,NULL,1,'2026-11-20 12:45:49.493931','["access:servers!server=ada/"]',NULL,2,1);
INSERT INTO "shares" VALUES(NULL,1,2,'2026-11-20 12:45:49.541066','["access:servers!server=ada/"]',NULL,2,1);
CREATE TABLE spawners (
	id INTEGER NOT NULL, 
	user_id INTEGER, 
	server_id INTEGER, 
	state TEXT, 
	name VARCHAR(255), 
	display_name VARCHAR(255), 
	started DATETIME, 
	last_activity DATETIME, 
	user_options TEXT, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_spawners PRIMARY KEY (id), 
	CONSTRAINT fk_spawners_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_spawners_server_id_servers FOREIGN KEY(server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_spawners_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "spawners" VALUES(1,2,1,'{"pid": 332}','','','2026-11-20 12:45:48.477213','2026-11-20 12:45:48.477213','{"profile": "large"}','jupyterhub-user-ada');
INSERT INTO "spawners" VALUES(2,3,NULL,NULL,'','',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(3,1,NULL,'{}','','',NULL,'2026-11-20 12:45:49.337648',NULL,NULL);
INSERT INTO "spawners" VALUES(4,4,NULL,NULL,'','',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(5,3,2,'{"pid": 335}','gpu','gpu','2026-11-20 12:45:48.797216','2026-11-20 12:45:48.797216',NULL,'jupyterhub-user-grace-gpu');
CREATE TABLE user_group_map (
	user_id INTEGER NOT NULL, 
	group_id INTEGER NOT NULL, 
	CONSTRAINT pk_user_group_map PRIMARY KEY (user_id, group_id), 
	CONSTRAINT fk_user_group_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_user_group_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE
);
INSERT INTO "user_group_map" VALUES(2,1);
INSERT INTO "user_group_map" VALUES(3,1);
CREATE TABLE user_role_map (
	user_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	managed_by_auth BOOLEAN NOT NULL, 
	CONSTRAINT pk_user_role_map PRIMARY KEY (user_id, role_id), 
	CONSTRAINT fk_user_role_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_user_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "user_role_map" VALUES(1,3,0);
INSERT INTO "user_role_map" VALUES(1,4,0);
INSERT INTO "user_role_map" VALUES(2,4,0);
INSERT INTO "user_role_map" VALUES(3,4,0);
INSERT INTO "user_role_map" VALUES(2,5,0);
INSERT INTO "user_role_map" VALUES(4,4,0);
CREATE TABLE users (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	user_info TEXT, 
	admin BOOLEAN, 
	created DATETIME, 
	last_activity DATETIME, 
	cookie_id VARCHAR(255) NOT NULL, 
	state TEXT, 
	encrypted_auth_state BLOB, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT uq_users_name UNIQUE (name), 
	CONSTRAINT uq_users_cookie_id UNIQUE (cookie_id)
);
INSERT INTO "users" VALUES(1,'boss',NULL,1,'2026-11-20 12:45:47.792302','2026-11-20 12:45:49.337648','9778ec2739254ddeb90fa14aa07a6c7a','{}',NULL);
INSERT INTO "users" VALUES(2,'ada',NULL,0,'2026-11-20 12:45:47.842811','2026-11-20 12:45:48.477213','8e8a104e94784e0392780bddccbf687d','{}',X'67414141414142724145443937597730696E6C78613753364F4B7353766E454B707971577373455F784B494B6132336844372D324E333761384832444264524579526F7A416C52313036374644732D35635254336C47366B5032527377794656364676464C75513544534C6676644554735657446572673D');
INSERT INTO "users" VALUES(3,'grace',NULL,0,'2026-11-20 12:45:47.865699','2026-11-20 12:45:48.797216','069e96c4573d44c3a067a96c99061cf2','{}',NULL);
INSERT INTO "users" VALUES(4,'idle@example.org',NULL,0,'2026-11-20 12:45:48.325894',NULL,'9a55d3810ed54aa4a0d66d7eda2b6aa6',NULL,NULL);
CREATE TABLE users_info (
	id INTEGER NOT NULL, 
	username VARCHAR(128) NOT NULL, 
	password BLOB NOT NULL, 
	is_authorized BOOLEAN, 
	login_email_sent BOOLEAN, 
	email VARCHAR(128), 
	has_2fa BOOLEAN, 
	otp_secret VARCHAR(16), 
	CONSTRAINT pk_users_info PRIMARY KEY (id)
);
CREATE INDEX ix_share_codes_prefix ON share_codes (prefix);
CREATE INDEX ix_api_tokens_prefix ON api_tokens (prefix);
COMMIT;
