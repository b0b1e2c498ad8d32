BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('4621fec11365');
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
INSERT INTO "api_tokens" VALUES(NULL,1,1,'sha512:16384:4a10bedf150ddd85:7ed687702f065d5af75a2dd07235d5b72a5c8f443a041620f15281f2835ed5b1afd25d6a64cfa8b3ed2d6d2e32a18ced0a012c5ea9574e1fd028c25b68d7c81e','the-','jupyterhub',NULL,'2026-11-20 12:45:57.267040',NULL,'2026-11-20 12:45:57.466045','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,2,2,'sha512:16384:2ad0b789894ea98a:66b5ccaafd5de8385a0bbbb42e4b66c9f34a9e4a4dee131dfde1a45866f6c31cd0e0725295495b46a58afe762e0f4b9c7d36a4fc27a0b912a4e25b288349837d','the-','jupyterhub',NULL,'2026-11-20 12:45:57.295272',NULL,NULL,'from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(2,NULL,3,'sha512:16384:e79c670cb6239547:3b12d0c65b29e4213449e38cef63c58a663b009f27ad4c4b917f99be1f73b34db2f6b22b4766539756ab83e6e732a824146218d06d38284ad79dad358c34b07c','the-','jupyterhub',NULL,'2026-11-20 12:45:57.332663',NULL,NULL,'from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(2,NULL,4,'sha512:1:678151fbec7a2128:3b4ef2031411fdfaf4785a2a98d8f5efd5cae3937ce52cc14b3ca46ccd12713a5801d04ed0a25a3397f529ec46ebc713c7aba76376a39580d6d5b0bbc8e2fc8f','edae','jupyterhub',NULL,'2026-11-20 12:45:57.715046',NULL,NULL,'Server at /user/ada/','["access:servers!server=ada/", "users:activity!user"]');
INSERT INTO "api_tokens" VALUES(3,NULL,5,'sha512:1:c13974d39adb1951:0d814f7e765e0f0c5a8594495d29cb453e5be3d1cf4c6cc1071e760aafeacbf0d5abf0e4359be0b66f4629e080bb6d6a46cef9d48b0ab704f3ca3d3ffb515ddd','ef82','jupyterhub',NULL,'2026-11-20 12:45:58.053776',NULL,NULL,'Server at /user/grace/gpu/','["access:servers!server=grace/gpu", "users:activity!user"]');
INSERT INTO "api_tokens" VALUES(2,NULL,6,'sha512:1:e12cb10397f9d50e:07ce4f6eb74ecb274ef0aba3da9675f97a670ce56325aa34810c75532de516985c4d0d415a372c1706f3861a7de29c8d6011ea68bf59face6366953e24442f45','6c98','jupyterhub',NULL,'2026-11-20 12:45:59.020700',NULL,NULL,'a script','["read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(2,NULL,7,'sha512:1:a67682f23a7e019c:9faae68dc95c9b41ecb7f881e50712ee969680f26f7db8d433bff087313b5be274278c57dfdf7d8a46ea4a887678dcc3d42a169ea98b5a4e303eaf6cba9cce4d','0e40','jupyterhub',NULL,'2026-11-20 12:45:59.054234','2026-11-20 12:46:00.053658',NULL,'over','["inherit"]');
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
INSERT INTO "oauth_clients" VALUES(2,'service-wiki','JupyterHub service wiki','sha512:16384:c2d6f8c3813611e7:a632a943627387ecd801dbee01db59ea302cb0e6fdf0336b876d1e44c54c23753a414cde31aaa53d53da11c58698341dac63cea0717c76c474769086385a6338','http://127.0.0.1:9/callback','["access:services!service=wiki"]');
INSERT INTO "oauth_clients" VALUES(3,'jupyterhub-user-ada','Server at /user/ada/','sha512:16384:0657c9117e0e695a:ad78bd829306c30fabf0600102ddc7c61c9f1fc0ab27d397e32f70ffe2beb4ec7a10a8f6c05cb5ab67de14dd2e0eb35c4e00f2af6dd3f3a1457e1f9e62f158b1','/user/ada/oauth_callback','["access:servers!server=ada/"]');
INSERT INTO "oauth_clients" VALUES(4,'jupyterhub-user-grace-gpu','Server at /user/grace/gpu/','sha512:16384:0bdcf3cae56ae8ae:ac60869c5f4c4520ffcd9dc85ac0bab07fe5db70b14d2db73ad2367c2c046fbad31808d12edfe6e489969c1f36c888a7c4c97330433cd9efbe8f441276d9e9e5','/user/grace/gpu/oauth_callback','["access:servers!server=grace/gpu"]');
CREATE TABLE oauth_codes (
	id INTEGER NOT NULL, 
	client_id VARCHAR(255), 
	code VARCHAR(36), 
	expires_at INTEGER, 
	redirect_uri VARCHAR(1023), 
	session_id VARCHAR(255), 
	user_id INTEGER, 
	scopes TEXT, 
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
INSERT INTO "servers" VALUES(1,'http','127.0.0.1',50401,'/user/ada/','cookie');
INSERT INTO "servers" VALUES(2,'http','127.0.0.1',58953,'/user/grace/gpu/','cookie');
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
	from_config BOOLEAN, 
	_server_id INTEGER, 
	pid INTEGER, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_services PRIMARY KEY (id), 
	CONSTRAINT uq_services_name UNIQUE (name), 
	CONSTRAINT fk_services__server_id_servers FOREIGN KEY(_server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_services_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "services" VALUES(1,'setup',1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1,NULL,NULL,NULL);
INSERT INTO "services" VALUES(2,'wiki',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1,NULL,NULL,'service-wiki');
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
INSERT INTO "share_codes" VALUES('sha512:1:6b8dec099df51fc7:adcf65e28005b0667abe44b1b0aff9629b5d84b472ee229a1c62b4f78289ca504573a30d2764dbaaed19389ba7d276da4162f02a2526d0e8f283075a5d2137b2','mHva',0,NULL,1,'2026-11-20 12:45:59.178414','["access:servers!server=ada/"]','2027-11-20 12:45:59.172909',2,1);
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
INSERT INTO "shares" VALUES(3,NULL,1,'2026-11-20 12:45:59.111519','["access:servers!server=ada/"]',NULL,2,1);
INSERT INTO "shares" VALUES(NULL,1,2,'2026-11-20 12:45:59.140629','["access:servers!server=ada/"]',NULL,2,1);
CREATE TABLE spawners (
	id INTEGER NOT NULL, 
	user_id INTEGER, 
	server_id INTEGER, 
	state TEXT, 
	name VARCHAR(255), 
	started DATETIME, 
	last_activity DATETIME, 
	user_options TEXT, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_spawners PRIMARY KEY (id), 
	CONSTRAINT fk_spawners_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_spawners_server_id_servers FOREIGN KEY(server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_spawners_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "spawners" VALUES(1,2,1,'{"pid": 530}','','2026-11-20 12:45:57.776316','2026-11-20 12:45:57.776316','{"profile": "large"}','jupyterhub-user-ada');
INSERT INTO "spawners" VALUES(2,3,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(3,1,NULL,'{}','',NULL,'2026-11-20 12:45:58.963790','{}',NULL);
INSERT INTO "spawners" VALUES(4,4,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(5,3,2,'{"pid": 533}','gpu','2026-11-20 12:45:58.116722','2026-11-20 12:45:58.116722','{}','jupyterhub-user-grace-gpu');
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
INSERT INTO "users" VALUES(1,'boss',1,'2026-11-20 12:45:57.048215','2026-11-20 12:45:58.963790','d6cb1800e42240a381e92054749e33d2','{}',NULL);
INSERT INTO "users" VALUES(2,'ada',0,'2026-11-20 12:45:57.100357','2026-11-20 12:45:57.776316','f2d0d5f5354147b39e2979a99692bfb0','{}',X'67414141414142724145454846392D682D316D4F62434A4C58503655343754336A68656561326D6362764374516B78474C554E496862544743347A73654E767759516D616E64366E75544E4174707433435A6F677270726B7A3238414475726670734B52446F4A756F76764A5A6F2D32354E33425476593D');
INSERT INTO "users" VALUES(3,'grace',0,'2026-11-20 12:45:57.124578','2026-11-20 12:45:58.116722','5f9c2571e0d849d39a9500b977372f59','{}',NULL);
INSERT INTO "users" VALUES(4,'idle@example.org',0,'2026-11-20 12:45:57.653213',NULL,'92c1ec266ef24fb283a6d0c6a9e21cec',NULL,NULL);
CREATE INDEX ix_share_codes_prefix ON share_codes (prefix);
CREATE INDEX ix_api_tokens_prefix ON api_tokens (prefix);
COMMIT;
