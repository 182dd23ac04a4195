{{/* Labels of every object. */}}
{{- define "cscale.labels" -}}
app.kubernetes.io/name: cscale
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: cscale-hub
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* An image of the values: {name, tag}. */}}
{{- define "cscale.image" -}}
{{ .name }}:{{ .tag }}
{{- end }}

{{/*
The buckets of the virtual organisations that servers see in one mode, as JSON.
Call: include "cscale.buckets" (list $ "node") | fromJsonArray
*/}}
{{- define "cscale.buckets" -}}
{{- $root := index . 0 }}{{ $mode := index . 1 }}
{{- $cluster := $root.Values.custom.cscale.settings.kubernetes }}
{{- $usual := dig "bucket" "mode" "node" $cluster }}
{{- $found := list }}
{{- range $name, $vo := $root.Values.custom.cscale.settings.vos.vos }}
  {{- $all := list $vo.bucket }}
  {{- range $vo.places }}{{ $all = append $all .bucket }}{{ end }}
  {{- range $bucket := $all }}
    {{- $own := get (default dict $cluster.buckets) $bucket | default dict }}
    {{- if eq (dig "mode" $usual $own) $mode }}{{ $found = append $found $bucket }}{{ end }}
  {{- end }}
{{- end }}
{{- $found | uniq | sortAlpha | toJson }}
{{- end }}

{{/* Security of a container that needs nothing of the node. */}}
{{- define "cscale.unprivileged" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Egress to the cluster's name service. */}}
{{- define "cscale.dns" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{/*
Egress to the named destinations of the values, each {pods, namespaces, networks, ports}.
Call: include "cscale.destinations" (dict "all" .Values… "names" (list "s3"))
*/}}
{{- define "cscale.destinations" -}}
{{- $all := .all }}
{{- range .names }}
{{- with get $all . }}
- to:
    {{- if or .pods .namespaces }}
    - {{ if .namespaces }}namespaceSelector: {matchLabels: {{ .namespaces | toJson }}}{{ end }}
      {{ if .pods }}podSelector: {matchLabels: {{ .pods | toJson }}}{{ end }}
    {{- end }}
    {{- range $network, $on := .networks }}
    {{- if $on }}
    - ipBlock: {cidr: {{ $network }}}
    {{- end }}
    {{- end }}
  ports:
    {{- range $port, $on := .ports }}
    {{- if $on }}
    - {protocol: TCP, port: {{ $port | atoi }}}
    {{- end }}
    {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Egress to public addresses; the argument is what is private, by network. */}}
{{- define "cscale.public" -}}
{{- $private := . }}
- to:
    {{- range $all, $mark := dict "0.0.0.0/0" false "::/0" true }}
    - ipBlock:
        cidr: {{ $all | quote }}
        except:
          {{- range $network, $on := $private }}
          {{- if and $on (eq (contains ":" $network) $mark) }}
          - {{ $network | quote }}
          {{- end }}
          {{- end }}
    {{- end }}
{{- end }}
