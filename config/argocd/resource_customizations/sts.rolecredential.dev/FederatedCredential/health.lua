-- The same script serves all kinds of the group. An identity has only the condition Ready, with source.x509 CertificateValid, and once STS has answered, ClockInSync.
local hs = { status = "Progressing", message = "Waiting for the operator to process this spec." }

local conditions = {}
local failed = nil -- the first condition that is False, other than Ready
if obj.status ~= nil and obj.status.conditions ~= nil and obj.status.observedGeneration == obj.metadata.generation then
  for _, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
    if condition.status == "False" and condition.type ~= "Ready" and failed == nil then
      failed = condition
    end
  end
end
local ready = conditions.Ready

if obj.spec ~= nil and obj.spec.suspend == true then
  hs.status = "Suspended"
  hs.message = "spec.suspend is set."
  if ready ~= nil then
    hs.message = ready.message
  end
elseif ready == nil then
  return hs
elseif ready.status == "True" then
  -- Ready describes the Secret. A failed refresh or rollout only adds its message: the Secret is still usable.
  hs.status = "Healthy"
  hs.message = ready.message
  if failed ~= nil then
    hs.message = failed.type .. " is False: " .. failed.message
  end
elseif conditions.Authorized ~= nil and conditions.Authorized.status == "False" then
  hs.status = "Degraded"
  hs.message = conditions.Authorized.message
elseif conditions.Issued ~= nil and conditions.Issued.status == "False" then
  hs.status = "Degraded"
  hs.message = conditions.Issued.message
elseif ready.reason == "NotIssued" or ready.reason == "Outdated" or ready.reason == "Expired" then
  -- No condition reports a failure, so the STS call waits for the rate limit.
  hs.message = ready.message
  if conditions.Issued ~= nil then
    hs.message = conditions.Issued.message
  end
else
  hs.status = "Degraded"
  hs.message = ready.message
end
return hs
