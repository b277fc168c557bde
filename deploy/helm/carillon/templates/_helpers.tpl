{{/* An object's name: the release, then the service with a dash (DNS knows no underscore). */}}
{{- define "carillon.name" -}}
{{ printf "%s-%s" .root.Release.Name (.name | replace "_" "-") | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "carillon.selector" -}}
app.kubernetes.io/name: carillon
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name | replace "_" "-" }}
{{- end -}}

{{- define "carillon.labels" -}}
{{ include "carillon.selector" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "carillon.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end -}}

{{/* Who may call whom: the solid arrows between services of docs/architecture.md. */}}
{{- define "carillon.calls" -}}
gateway: [users, templates]
templates: [users]
users: [gateway]
email_worker: [users, templates]
push_worker: [users, templates]
{{- end -}}

{{/* Where each goes besides. */}}
{{- define "carillon.needs" -}}
gateway: [postgresql, broker, redis, traces]
users: [postgresql, broker, redis, traces]
templates: [postgresql, broker, redis, traces]
email_worker: [postgresql, broker, smtp, traces]
push_worker: [postgresql, broker, fcm, traces]
migrate: [postgresql]
{{- end -}}

{{- define "carillon.pod-security" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "carillon.container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "carillon.from-secret" -}}
- name: {{ .variable }}
  valueFrom: {secretKeyRef: {name: {{ .root.Values.secret }}, key: {{ .key }}}}
{{- end -}}

{{/* What every process is told; the migrating job as well. */}}
{{- define "carillon.common-env" -}}
- {name: CARILLON_HOST, value: 0.0.0.0}
- {name: CARILLON_LOG_FORMAT, value: json}
{{ include "carillon.from-secret" (dict "root" . "variable" "CARILLON_BROKER_URL" "key" "broker-url") }}
{{ include "carillon.from-secret" (dict "root" . "variable" "CARILLON_REDIS_URL" "key" "redis-url") }}
{{- range list "users" "templates" "gateway" }}
- name: CARILLON_{{ upper . }}_URL
  value: http://{{ include "carillon.name" (dict "root" $ "name" .) }}:8000
{{- end }}
{{- with .Values.trustedProxies }}
- {name: CARILLON_TRUSTED_PROXIES, value: {{ quote . }}}
{{- end }}
{{- range $variable, $value := .Values.env }}
- {name: {{ $variable }}, value: {{ quote $value }}}
{{- end }}
{{- end -}}

{{/* What one service is told beside that. */}}
{{- define "carillon.own-env" -}}
{{- $prefix := printf "CARILLON_%s" (upper .name) -}}
{{ include "carillon.from-secret" (dict "root" .root "variable" (printf "%s_DATABASE_URL" $prefix) "key" (printf "%s-database-url" (.name | replace "_" "-"))) }}
- {name: {{ $prefix }}_TOKEN_FILE, value: /var/lib/carillon/tokens/{{ .name }}.token}
{{- if eq .name "users" }}
- {name: CARILLON_USERS_SIGNING_KEY_FILE, value: /var/lib/carillon/signing_key.pem}
- {name: CARILLON_USERS_ENCRYPTION_KEY_FILE, value: /var/lib/carillon/encryption.key}
- {name: CARILLON_USERS_PUBLIC_URL, value: {{ quote .root.Values.publicUrl }}}
- {name: CARILLON_USERS_REGISTRATION, value: {{ quote .root.Values.registration }}}
{{- else if eq .name "email_worker" }}
{{ include "carillon.from-secret" (dict "root" .root "variable" "CARILLON_EMAIL_WORKER_SMTP_URL" "key" "smtp-url") }}
- {name: CARILLON_EMAIL_WORKER_MAIL_FROM, value: {{ quote (required "mailFrom is required: whom mails are from" .root.Values.mailFrom) }}}
{{- else if eq .name "push_worker" }}
- {name: CARILLON_PUSH_WORKER_SERVICE_ACCOUNT_FILE, value: /run/secrets/fcm/fcm.json}
{{- end }}
{{- range $variable, $value := .service.env }}
- {name: {{ $variable }}, value: {{ quote $value }}}
{{- end }}
{{- end -}}
